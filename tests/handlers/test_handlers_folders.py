"""Configurations are told without the folders of a machine, wherever these stand in them, and are not otherwise changed."""

from __future__ import annotations

import pytest

from monai_fpt.handlers import fpt_tracked_params
from monai_fpt.handlers._folders import private_paths, without_folders
from monai_fpt.handlers._told import told

PATHS = {
    "Linux": ("/home/ann/skin/labels.csv", "labels.csv"),
    "Linux, folder": ("/mnt/studies/ann/", "ann"),
    "macOS": ("/Users/ann/skin/labels.csv", "labels.csv"),
    "home": ("/home/ann", "~"),
    "Windows home": (r"C:\Users\ann", "~"),
    "below home": ("~/skin/labels.csv", "labels.csv"),
    "of another user": ("~ann/skin/labels.csv", "labels.csv"),
    "Windows": (r"C:\Users\ann\labels.csv", "labels.csv"),
    "Windows, doubled": (r"C:\\Users\\ann\\labels.csv", "labels.csv"),
    "Windows, slashes": ("D:/ann/labels.csv", "labels.csv"),
    "UNC": (r"\\server\ann\labels.csv", "labels.csv"),
    "UNC, doubled": (r"\\\\server\\ann\\labels.csv", "labels.csv"),
    "UNC, slashes": ("//server/ann/labels.csv", "labels.csv"),
    "file": ("file:///home/ann/labels.csv", "labels.csv"),
    "file, one slash": ("file:/home/ann/labels.csv", "labels.csv"),
    "file, Windows": ("file:///C:/Users/ann/labels.csv", "labels.csv"),
    "file, UNC": ("file://server/ann/labels.csv", "labels.csv"),
    "SQLite": ("sqlite:////home/ann/mlflow.db", "mlflow.db"),
}
PLACES = {
    "expression": "$monai.utils.load('{}', 3)",
    "expression, double quotes": '$load("{}")',
    "list in an expression": "$[one('{}'), 'b']",
    "prose": "the labels in {} were used",
    "prose, brackets": "the labels ({}) were used",
    "after a sign": "folder={}",
    "path list": "PATHS={}:b",
}
ORDINARY = [
    "and/or",
    "benign/malignant, n/a, w/o",
    "on 1/2/2024 and 2024/02/01",
    "5 mm/s, 1/2",
    "https://example.org/home/ann",
    "see https://example.org/a/b/c.",
    "http://127.0.0.1:5000/#/experiments/1",
    "models:/melanoma/3",
    "models:/melanoma@champion",
    "$@a / @b / 2",
    "$(@a)/@b/2",
    "$@image_size // 2",
    "$x['a']/y['b']/2",
    "$@run_dir + '/models/best.pt'",
    "$os.path.join(@run_dir, 'output/test')",
    "$@output_dir + '/evaluation'",
    "images/ISIC_0000001.jpg",
    "./runs/fpt",
    "sqlite:///mlflow.db",
    "ratio 3:4, 10:30",
    r"a\b",
    r"^\d+/\d+$",
    "image/jpeg",
    "</b></i>",
    "~ 5 mm",
    "/",
    "/ or \\",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("path", "last"), PATHS.values(), ids=PATHS)
def test_a_path_within_a_text_is_told_by_its_last_part(path: str, last: str, place: str) -> None:
    text = PLACES[place]
    assert without_folders(text.format(path)).rstrip("/") == text.format(last)
    assert private_paths(text.format(path)) != []


@pytest.mark.parametrize("path", [path for path, _ in PATHS.values()], ids=PATHS)
def test_a_value_that_is_a_path_is_told_by_its_last_part(path: str) -> None:
    last = dict(PATHS.values())[path]
    assert told({"reference": path, "all": [path]}) == {"reference": last, "all": [last]}


@pytest.mark.parametrize("path", ["/home/ann smith/my images/a.png", r"C:\Users\Ann Smith\a.png"])
def test_a_path_in_quotes_may_hold_blanks(path: str) -> None:
    assert without_folders(f"$load('{path}', 'b')") == "$load('a.png', 'b')"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert without_folders(text) == text and private_paths(text) == []
    assert private_paths(f'{{"a": "{text}"}}') == []


def test_several_paths_in_one_text_are_all_found() -> None:
    text = "$cat('/a/b/c.png', '/d/e.png') if '/f/g' else \"C:\\x\\y\""
    assert without_folders(text) == "$cat('c.png', 'e.png') if 'g' else \"y\""


def test_references_and_relative_paths_of_a_configuration_are_left() -> None:
    config = {"a": "@run_dir", "b": "%train.json::x", "c": "runs/a", "d": 3, "e": None, "f": [True, 0.5]}
    assert told(config) == config


def test_parameters_of_a_run_are_values_and_no_expressions() -> None:
    config = {
        "_preset_": "Dermoscopy: ...",
        "imports": ["$import os"],
        "reference": "@run_dir",
        "mean": [0.5, 0.5, 0.5],
        "dataset_dir": "/home/ann/skin",
        "lr": 0.1,
    }
    assert fpt_tracked_params(config) == {"mean": [0.5, 0.5, 0.5], "dataset_dir": "skin", "lr": 0.1}


@pytest.mark.parametrize("text", [r"\d{4}_a", "/ or x/y", "/5 mm, a/b"])
def test_a_text_that_only_begins_like_a_path_stays(text: str) -> None:
    assert told({"pattern": text}) == {"pattern": text}


@pytest.mark.parametrize(
    "text", ["“/home/ann/x”", "path→/home/ann/x", "FILE:///home/ann/x", "/home/ann/my images/x", "C:\\Users\\ann\\x"]
)
def test_a_path_however_it_is_written_leaves_its_last_part(text: str) -> None:
    assert "ann" not in told(text) and "x" in told(text)
