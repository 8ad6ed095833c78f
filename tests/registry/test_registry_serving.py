"""Every row of a request gets its own answer, a bad one costs the others nothing, and MLflow's own loader gives the same."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image
from registry_toys import CLASSES, CONFIG, PATIENT, as_text, untrained_run

from monai_fpt.registry import FPTPredictor, package_model
from monai_fpt.registry.inputs import RequestLimits
from monai_fpt.registry.mlflow_folder import example_image, pinned_requirements, save_mlflow_model
from monai_fpt.registry.serving import answer_rows

NAN = float("nan")


@pytest.fixture(scope="module")
def predictor(toy_run: Path) -> FPTPredictor:
    return FPTPredictor.from_folder(toy_run)


@pytest.fixture(scope="module")
def mlflow_folder(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    return save_mlflow_model(package_model(toy_run, folder / "fpt"), folder / "model")


@pytest.fixture(scope="module")
def served(mlflow_folder: Path) -> Any:
    return mlflow.pyfunc.load_model(str(mlflow_folder))


def images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))[:3]


def asked(
    predictor: FPTPredictor, entries: list[Any], frames: list[Any] | None = None, **options: Any
) -> list[dict[str, Any]]:
    return answer_rows(predictor, entries, frames or [None] * len(entries), RequestLimits(), **options)


def test_answers_are_those_of_the_predictor_in_the_order_of_the_rows(predictor: FPTPredictor, toy_images: Path) -> None:
    files = images(toy_images)
    rows = asked(predictor, [as_text(file) for file in files])
    for row, answer in zip(rows, predictor.predict(files), strict=True):
        assert row["status"] == "ok" and row["error"] is None and row["heatmap"] is None
        assert row["predicted"] == answer.predicted[0]
        assert row["logits"] == dict(zip(CLASSES, answer.logits, strict=True))
        assert row["probabilities"] == dict(zip(CLASSES, answer.probabilities, strict=True))
        assert row["calibrated"] == dict(zip(CLASSES, answer.calibrated or (), strict=True))
        assert row["operating_points"] == answer.passed
    assert len({str(row["logits"]) for row in rows}) == 3


def test_a_bad_image_costs_the_others_nothing(predictor: FPTPredictor, toy_images: Path) -> None:
    good = [as_text(file) for file in images(toy_images)]
    rows = asked(predictor, [good[0], "broken", good[1], None, "YWJjZA==", good[2]])
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "error", "error", "ok"]
    assert [row["logits"] for row in rows if row["status"] == "ok"] == [row["logits"] for row in asked(predictor, good)]
    for row in rows:
        if row["status"] == "error":
            assert row["error"].endswith(".") and all(
                row[name] is None for name in row if name not in ("status", "error")
            )


def test_nothing_but_bad_images_are_all_told(predictor: FPTPredictor) -> None:
    assert [row["status"] for row in asked(predictor, ["x!", ""])] == ["error", "error"]
    assert asked(predictor, []) == []


def test_a_frame_is_chosen_row_by_row(predictor: FPTPredictor, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((70, 60), grey, np.uint8)) for grey in (0, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    text = as_text(tmp_path / "pages.tif")
    rows = asked(predictor, [text] * 5, [0, 1.0, NAN, 0.5, 2])
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "error", "error"]
    assert rows[0]["logits"] != rows[1]["logits"]
    assert "2 pages or frames" in rows[2]["error"] and "whole number" in rows[3]["error"]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (-1, "frame is -1, which is below 0"),
        (float("inf"), "no whole number"),
        ("two", "frame is two, which is no whole number"),
    ],
    ids=["negative", "infinite", "text"],
)
def test_a_frame_that_cannot_be_costs_its_own_row_only(
    predictor: FPTPredictor, tmp_path: Path, frame: Any, sentence: str
) -> None:
    pages = [Image.fromarray(np.full((70, 60), grey, np.uint8)) for grey in (0, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    rows = asked(predictor, [as_text(tmp_path / "pages.tif")] * 2, [frame, 1])
    assert [row["status"] for row in rows] == ["error", "ok"]
    assert sentence in rows[0]["error"] and rows[0]["error"].endswith("count frames from 0.")


def test_several_findings_are_a_list(tmp_path: Path, toy_images: Path) -> None:
    run = untrained_run(
        tmp_path, dataclasses.replace(CONFIG, num_classes=3), classes=("a", "b", "c"), task="multilabel"
    )
    row = asked(FPTPredictor.from_folder(run), [as_text(images(toy_images)[0])])[0]
    assert row["predicted"] == [name for name, value in row["probabilities"].items() if value >= 0.5]
    assert row["calibrated"] is None and row["operating_points"] is None


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_heat_map_lies_over_the_image_as_it_was_prepared(predictor: FPTPredictor, toy_images: Path) -> None:
    rows = asked(predictor, [as_text(images(toy_images)[0]), "bad"], heatmap=True)
    assert picture(rows[0]["heatmap"]).size == (50, 60)  # the training's crop, width first
    assert rows[1]["heatmap"] is None
    maps = [
        asked(predictor, [as_text(images(toy_images)[0])], heatmap=True, heatmap_class=name)[0]["heatmap"]
        for name in CLASSES
    ]
    assert rows[0]["heatmap"] == maps[CLASSES.index(rows[0]["predicted"])] and maps[0] != maps[1]


def test_a_heat_map_that_cannot_be_made_costs_no_answer(predictor: FPTPredictor, toy_images: Path) -> None:
    row = asked(predictor, [as_text(images(toy_images)[0])], heatmap=True, heatmap_class="healthy")[0]
    assert row["status"] == "ok" and row["probabilities"] and row["heatmap"] is None
    assert row["error"].startswith("There is no heat map: The model has no class 'healthy'")


# --- as MLflow has it


def posted(model: Any, body: dict[str, Any]) -> Any:
    """What MLflow's scoring server answers, without the wire."""
    found = invocations(json.dumps(body).encode(), "application/json", model, model.metadata.get_input_schema())
    assert found.status == 200
    return json.loads(found.response)["predictions"]


def test_all_forms_of_mlflow_s_requests_give_the_same(served: Any, predictor: FPTPredictor, toy_images: Path) -> None:
    text = as_text(images(toy_images)[0])
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": ["image"], "data": [[text]]}},
        {"dataframe_split": {"columns": ["image", "frame"], "data": [[text, None]]}},
        {"dataframe_split": {"columns": ["frame", "image"], "data": [[0, text]]}},
        {"dataframe_records": [{"image": text}], "params": {"heatmap": False}},
        {"inputs": [{"image": text}]},
        {"inputs": {"image": [text]}},
        {"instances": [{"image": text}]},
    ]
    wanted = asked(predictor, [text])
    for body in bodies:
        assert posted(served, body) == wanted


def test_parameters_pass_through_mlflow(served: Any, toy_images: Path) -> None:
    text = as_text(images(toy_images)[0])
    body = {"dataframe_records": [{"image": text}], "params": {"heatmap": True, "heatmap_class": "benign"}}
    assert picture(posted(served, body)[0]["heatmap"]).size == (50, 60)


def test_a_request_without_images_is_refused_by_its_signature(served: Any) -> None:
    with pytest.raises(MlflowException, match="missing inputs"):
        posted(served, {"dataframe_records": [{"picture": "x"}]})


def test_a_path_is_served_where_a_folder_is_named(
    mlflow_folder: Path, toy_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONAI_FPT_SERVE_ROOT", str(toy_images))
    model = mlflow.pyfunc.load_model(str(mlflow_folder))
    name = images(toy_images)[0].name
    rows = model.predict(pd.DataFrame({"image": [f"file:{name}", "file:../labels.csv", as_text(toy_images / name)]}))
    assert rows[0]["logits"] == rows[2]["logits"] and rows[1]["status"] == "error"


def test_it_loads_without_pickle_and_its_example_is_a_drawn_image(
    mlflow_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(str(mlflow_folder))
    assert model.predict(model.input_example)[0]["status"] == "ok"
    assert model.input_example["image"].tolist() == [example_image()]
    assert not [path for path in mlflow_folder.rglob("*") if path.suffix in (".pkl", ".pt", ".pth")]


def test_no_text_of_it_names_a_folder_or_a_patient(mlflow_folder: Path, toy_run: Path) -> None:
    for path in mlflow_folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(one.encode() in content for one in (PATIENT, str(toy_run.parent), "/tmp/")), path.name
    assert "uri: artifacts/fpt" in (mlflow_folder / "MLmodel").read_text(encoding="utf-8")


def test_requirements_are_pinned_without_the_build_s_suffix(mlflow_folder: Path) -> None:
    lines = (mlflow_folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == pinned_requirements() and {"monai-fpt", "torch", "monai", "mlflow"} <= {
        line.split("==")[0] for line in lines
    }
    assert all("==" in line and "+" not in line for line in lines)


def test_a_uv_project_of_the_working_directory_stays_out(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / "project" / name).write_text("[project]\nname = 'private'\n")
    monkeypatch.chdir(tmp_path / "project")
    folder = save_mlflow_model(package_model(toy_run, tmp_path / "fpt"), tmp_path / "model")
    assert not (folder / "uv.lock").exists() and not (folder / "pyproject.toml").exists()
