"""The commands around data: what they print and how they exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_fpt import cli


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in this process."""
    monkeypatch.setattr("sys.argv", ["monai-fpt", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(count):
                Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(
                    tmp_path / split / name / f"{n}.png"
                )
    return tmp_path


def test_a_sound_data_set_exits_with_0_and_a_page(images: Path, capsys: Any, monkeypatch: Any) -> None:
    page = images / "report.html"
    code, out, _ = run(capsys, monkeypatch, "data", "check", "--dataset_dir", str(images), "--output", str(page))
    assert code == 0 and "ok:" in out and page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_copy_in_another_split_exits_with_1_and_is_named(images: Path, capsys: Any, monkeypatch: Any) -> None:
    (images / "test" / "a" / "copy.png").write_bytes((images / "train" / "a" / "3.png").read_bytes())
    report = images / "report.json"
    code, out, _ = run(
        capsys,
        monkeypatch,
        "data",
        "check",
        "--dataset_dir",
        str(images),
        "--output",
        str(report),
        "--num_workers",
        "0",
    )
    assert code == 1 and "train/a/3.png" in out and "test/a/copy.png" in out
    assert not json.loads(report.read_text(encoding="utf-8"))["ok"]


def test_a_wrong_option_is_answered_with_the_right_ones(images: Path, capsys: Any, monkeypatch: Any) -> None:
    code, _, err = run(capsys, monkeypatch, "data", "check", "--dataset_dir", str(images), "--patients", "x")
    assert code == 2 and "no --patients" in err and "group_column" in err


def test_a_missing_folder_is_one_sentence(capsys: Any, monkeypatch: Any) -> None:
    code, _, err = run(capsys, monkeypatch, "data", "check", "--dataset_dir", "/no/such/folder")
    assert code == 1 and err.startswith("error: data list: there is no folder") and err.count("\n") == 1


def test_every_data_set_is_listed(capsys: Any, monkeypatch: Any) -> None:
    code, out, _ = run(capsys, monkeypatch, "datasets")
    names = ("messidor2", "ddr", "isic2016", "isic2018", "mini_ddsm", "cmmd", "covid", "chncxr", "medmnist")
    assert code == 0 and all(f"\n{name} " in f"\n{out}" for name in names)


def test_a_data_set_that_only_a_person_can_fetch_prints_the_steps(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    code, _, err = run(capsys, monkeypatch, "datasets", "download", "messidor2", str(tmp_path))
    assert code == 1 and "  1. " in err and "Licence" in err and "messidor_data.csv" in err


def test_an_incomplete_copy_exits_with_1(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    folder = tmp_path / "COVID_IEEE"
    for name in ("covid", "normal", "virus"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / name / "1.png")
    code, out, _ = run(capsys, monkeypatch, "datasets", "check", "covid", str(tmp_path))
    assert code == 1 and "1,823" in out


def test_an_unknown_data_set_is_answered_with_the_known_ones(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    code, _, err = run(capsys, monkeypatch, "datasets", "check", "imagenet", str(tmp_path))
    assert code == 1 and "there is no 'imagenet'" in err and "messidor2" in err
