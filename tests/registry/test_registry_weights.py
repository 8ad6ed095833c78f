"""What a model is said to be able to do was measured with its own weights, and its calibration was fitted for them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from registry_toys import copied_run, drawn_predictions, weights_of

from monai_fpt.metrics import FPTCalibration, FPTPredictions
from monai_fpt.registry import FPTPredictor, package_model, register_model

OF_WEIGHTS = ("calibration.json", "test_predictions.json", "validation_predictions.json")


def swap_model(run: Path) -> None:
    """Other weights under the same name, as another training would leave them."""
    state = torch.load(run / "model.pt", weights_only=True)
    state["fusion.prompts"] += 1e-3
    torch.save(state, run / "model.pt")


def forget_weights(path: Path) -> None:
    """Write a file as an older version did."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["weights_sha256"]
    path.write_text(json.dumps(content | {"version": 1}), encoding="utf-8")


def test_a_training_leaves_files_of_its_weights(toy_run: Path) -> None:
    weights = weights_of(toy_run)
    assert FPTCalibration.load(toy_run / "calibration.json").weights_sha256 == weights
    for section in ("test", "validation"):
        assert FPTPredictions.load(toy_run / f"{section}_predictions.json").weights_sha256 == weights


@pytest.mark.parametrize("left", ["calibration.json", "test_predictions.json"])
def test_files_of_other_weights_are_not_registered(toy_run: Path, store: str, tmp_path: Path, left: str) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    swap_model(run)
    for name in OF_WEIGHTS:
        if name != left:
            (run / name).unlink()
    with pytest.raises(ValueError, match=rf"{left}\" is of other weights than this model; evaluate this model again"):
        register_model(run, "swapped", tracking_uri=store)
    assert not (tmp_path / "fpt").exists()


@pytest.mark.parametrize("name", ["calibration.json", "test_predictions.json"])
def test_files_that_do_not_say_whose_they_are_are_not_registered(toy_run: Path, tmp_path: Path, name: str) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    forget_weights(run / name)
    with pytest.raises(ValueError, match=rf"{name}\" does not say of which weights it is"):
        package_model(run, tmp_path / "fpt")


def test_a_predictor_refuses_a_calibration_of_other_weights(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    assert FPTPredictor.from_folder(run).calibration is not None
    swap_model(run)
    with pytest.raises(ValueError, match="calibration was fitted for other weights"):
        FPTPredictor.from_folder(run)


def test_a_predictor_leaves_out_a_calibration_that_does_not_say(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    forget_weights(run / "calibration.json")
    with pytest.warns(UserWarning, match="does not say of which weights it is"):
        assert FPTPredictor.from_folder(run).calibration is None


# --- evaluations made later


def evaluated(run: Path, images: Path, **settings: Any) -> None:
    """``monai-fpt evaluate`` of the test section."""
    from monai_fpt.bundle import run_bundle

    fixed = {"dataset_dir": str(images), "run_dir": str(run), "device": "cpu", "batch_size": 4, "track": False}
    run_bundle("evaluate", fixed | {"report_pictures": False} | settings)


def test_an_evaluation_of_other_weights_never_becomes_the_model_s(
    toy_run: Path, toy_images: Path, tmp_path: Path
) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    shutil.copytree(toy_run / "features", run / "features")
    (run / "test_predictions.json").unlink()
    other = copied_run(toy_run, tmp_path / "other")
    swap_model(other)
    calibration = (run / "calibration.json").read_bytes()

    with pytest.warns(UserWarning, match="is of other weights than these predictions"):
        evaluated(run, toy_images, ckpt_path=str(other / "model.pt"))
    tested = FPTPredictions.load(run / "evaluation" / "test_predictions.json")
    assert tested.weights_sha256 == weights_of(other) and (run / "calibration.json").read_bytes() == calibration
    report = json.loads((run / "evaluation" / "report.json").read_text(encoding="utf-8"))
    assert report["calibration"] is None
    with pytest.raises(ValueError, match=r"test_predictions\.json\" is of other weights"):
        package_model(run, tmp_path / "a")

    evaluated(run, toy_images)
    assert (run / "calibration.json").read_bytes() == calibration
    package = package_model(run, tmp_path / "b")
    found, wanted = package.predictions(), FPTPredictions.load(toy_run / "test_predictions.json")
    assert found is not None and len(set(found.contents)) == len(wanted.contents) == len(wanted) == 8
    assert package.report is not None and package.report["calibration"]["weights_sha256"] == weights_of(run)
    assert found.logits.sum() == pytest.approx(wanted.logits.sum(), abs=1e-4)


def later(run: Path, folder: Path, strength: float, weights: str = "") -> FPTPredictions:
    made = dataclasses.replace(drawn_predictions(strength), weights_sha256=weights or weights_of(run))
    made.save(folder / "test_predictions.json")
    return made


def test_the_training_s_own_test_comes_first_and_another_must_be_named(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    later(run, run / "evaluation", 1.0)
    later(run, tmp_path / "elsewhere", 2.0)

    def images(name: str, **options: Any) -> int:
        report = package_model(run, tmp_path / name, **options).report
        assert report is not None
        return int(report["images"])

    assert images("own") == 8
    assert images("named", evaluation=tmp_path / "elsewhere") == 120
    swap_model(run)
    (run / "calibration.json").unlink()
    later(run, run / "evaluation", 1.0)
    with pytest.raises(
        ValueError, match=r"are not of its test section \(120 images are not in it\); name their folder as evaluation"
    ):
        images("of-other-images")
    (run / "data_list.json").unlink()
    assert images("own-is-stale") == 120


def test_a_named_evaluation_is_there_and_of_these_weights(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"holds no test_predictions\.json"):
        package_model(run, tmp_path / "fpt", evaluation=tmp_path / "nowhere")
    later(run, tmp_path / "other", 1.0, "ab" * 32)
    with pytest.raises(ValueError, match="is of other weights than this model"):
        package_model(run, tmp_path / "fpt", evaluation=tmp_path / "other")


def test_the_calibration_is_the_training_s(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    own = FPTCalibration.load(run / "calibration.json")
    dataclasses.replace(own, temperature=7.0).save(run / "evaluation" / "calibration.json")
    package = package_model(run, tmp_path / "own")
    assert FPTCalibration.load(package.folder / "calibration.json") == own
    (run / "calibration.json").unlink()
    package = package_model(run, tmp_path / "later")
    assert FPTCalibration.load(package.folder / "calibration.json").temperature == 7.0
