"""A training and an evaluation leave a report beside their predictions, and its scores without pictures in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundle_toys import draw_images, tiny_overrides
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from monai_fpt.bundle import run_bundle
from monai_fpt.metrics import FPTPredictions


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reported")
    images = draw_images(folder / "images")
    settings = {
        "report": True,
        "max_epochs": 1,
        "learning_rate": 1e-7,
    }  # learns nothing, so that there are errors to show
    run_bundle("train", tiny_overrides(images, folder / "run") | settings)
    return images, folder / "run"


def test_a_training_leaves_a_report_that_agrees_with_its_predictions(reported: tuple[Path, Path]) -> None:
    run = reported[1]
    content = json.loads((run / "report.json").read_text(encoding="utf-8"))
    predictions = FPTPredictions.load(run / "test_predictions.json")
    expected = roc_auc_score(predictions.labels, predictions.probabilities()[:, 1])
    assert content["scores"]["auc"]["value"] == pytest.approx(expected, abs=1e-9)
    assert content["images"] == 12 and (run / "calibration.json").is_file()
    assert (run / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_the_store_gets_intervals_and_a_page_without_pictures(reported: tuple[Path, Path]) -> None:
    run = reported[1]
    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (tracked,) = client.search_runs([client.get_experiment_by_name("monai_fpt").experiment_id])
    assert "test/auc" in tracked.data.metrics
    assert {a.path for a in client.list_artifacts(tracked.info.run_id, "report_test")} == {
        "report_test/report.html",
        "report_test/report.json",
    }
    local = client.download_artifacts(tracked.info.run_id, "report_test/report.html")
    page = Path(local).read_text(encoding="utf-8")
    assert "image/jpeg" not in page and ".png" not in page.replace("image/png", "")
    assert "image/jpeg" in (run / "report.html").read_text(encoding="utf-8")


def test_an_evaluation_leaves_the_same_scores(reported: tuple[Path, Path]) -> None:
    images, run = reported
    run_bundle("evaluate", {"dataset_dir": str(images), "run_dir": str(run), "device": "cpu", "track": False})
    first, second = (
        json.loads((folder / "report.json").read_text(encoding="utf-8"))["scores"]
        for folder in (run, run / "evaluation")
    )
    assert first.keys() == second.keys()
    for name, score in first.items():  # the temperature is fitted on logits of another process
        assert second[name] == pytest.approx(score, abs=1e-5, nan_ok=True), name


def test_pictures_can_be_left_out(reported: tuple[Path, Path], tmp_path: Path) -> None:
    images, run = reported
    settings = {
        "dataset_dir": str(images),
        "run_dir": str(run),
        "output_dir": str(tmp_path),
        "report_pictures": "false",
    }
    run_bundle("evaluate", settings | {"device": "cpu", "track": False})
    assert "image/jpeg" not in (tmp_path / "report.html").read_text(encoding="utf-8")
