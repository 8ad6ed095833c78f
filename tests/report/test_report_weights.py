"""A report uses a calibration of the weights that were evaluated, or none, and writes into its own folder alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from report_toys import drawn_predictions

from monai_fpt.metrics import FPTCalibration, FPTPredictions, fit_calibration
from monai_fpt.report import evaluate_predictions, fpt_write_report

OURS, OTHERS = "aa" * 32, "bb" * 32
TEST = dataclasses.replace(drawn_predictions("binary"), weights_sha256=OURS)
VALIDATION = dataclasses.replace(drawn_predictions("binary", seed=1, name="validation"), weights_sha256=OURS)


def of(predictions: FPTPredictions, weights: str) -> FPTPredictions:
    return dataclasses.replace(predictions, weights_sha256=weights)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_evaluation_leaves_the_training_s_folder_as_it_is(tmp_path: Path) -> None:
    VALIDATION.save(tmp_path / "validation_predictions.json")
    FPTCalibration(3.0, classes=TEST.classes, weights_sha256=OURS).save(tmp_path / "calibration.json")
    before = content(tmp_path)
    TEST.save(tmp_path / "evaluation" / "test_predictions.json")
    found = fpt_write_report(tmp_path / "evaluation", run_dir=tmp_path, bootstrap=0, quiet=True)
    assert content(tmp_path) == before
    assert found.calibration == fit_calibration(VALIDATION)
    assert FPTCalibration.load(tmp_path / "evaluation" / "calibration.json") == found.calibration


def test_an_evaluation_of_other_weights_is_not_calibrated_by_the_training(tmp_path: Path) -> None:
    VALIDATION.save(tmp_path / "validation_predictions.json")
    fit_calibration(VALIDATION).save(tmp_path / "calibration.json")
    of(TEST, OTHERS).save(tmp_path / "evaluation" / "test_predictions.json")
    with pytest.warns(UserWarning) as caught:
        found = fpt_write_report(tmp_path / "evaluation", run_dir=tmp_path, bootstrap=0, quiet=True)
    assert found.calibration is None and not (tmp_path / "evaluation" / "calibration.json").exists()
    told = [str(one.message) for one in caught]
    for name in ("validation_predictions.json", "calibration.json"):
        assert any(text.startswith(f"report: {name} is of other weights than these predictions") for text in told)


def test_the_right_validation_is_found_behind_a_wrong_one(tmp_path: Path) -> None:
    of(VALIDATION, OTHERS).save(tmp_path / "validation_predictions.json")
    VALIDATION.save(tmp_path / "run" / "validation_predictions.json")
    TEST.save(tmp_path / "test_predictions.json")
    with pytest.warns(UserWarning, match="is of other weights"):
        found = fpt_write_report(tmp_path, run_dir=tmp_path / "run", bootstrap=0, quiet=True)
    assert found.calibration == fit_calibration(VALIDATION)


@pytest.mark.parametrize(("validation", "test"), [("", OURS), (OURS, "")], ids=["old-validation", "old-test"])
def test_files_that_do_not_say_are_not_used_with_those_that_do(tmp_path: Path, validation: str, test: str) -> None:
    of(VALIDATION, validation).save(tmp_path / "validation_predictions.json")
    of(TEST, test).save(tmp_path / "test_predictions.json")
    with pytest.warns(UserWarning, match=r"cannot be compared with these predictions, for (it does|they do) not say"):
        assert fpt_write_report(tmp_path, bootstrap=0, quiet=True).calibration is None


def test_where_nobody_says_the_report_does() -> None:
    unknown = evaluate_predictions(of(TEST, ""), calibration=fit_calibration(of(VALIDATION, "")), bootstrap=0)
    assert any(s == "warning" and "not recorded of which weights" in text for s, text in unknown.notes)
    known = evaluate_predictions(TEST, calibration=fit_calibration(VALIDATION), bootstrap=0)
    assert not any("which weights" in text for _, text in known.notes)


def test_a_calibration_of_other_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="fit it on validation predictions of the same weights"):
        evaluate_predictions(of(TEST, OTHERS), calibration=fit_calibration(VALIDATION), bootstrap=0)


def test_the_very_images_are_known_although_the_logits_moved() -> None:
    moved = dataclasses.replace(VALIDATION, logits=VALIDATION.logits * 1.001)
    found = evaluate_predictions(moved, calibration=fit_calibration(VALIDATION), bootstrap=0)
    assert any("chosen on these very images" in text for _, text in found.notes)


def test_the_same_image_under_another_name_is_in_both_sections(tmp_path: Path) -> None:
    contents = tuple(f"content {number}" for number in range(len(TEST)))
    dataclasses.replace(TEST, contents=contents).save(tmp_path / "test_predictions.json")
    again = tuple(f"other {number}" for number in range(len(VALIDATION) - 1))
    dataclasses.replace(VALIDATION, contents=(contents[0], *again)).save(tmp_path / "validation_predictions.json")
    with pytest.warns(UserWarning, match="1 images and 0 patients are in the validation predictions too"):
        assert fpt_write_report(tmp_path, bootstrap=0, quiet=True).calibration is None


def test_a_column_of_dicom_s_ages_is_put_in_bands() -> None:
    ages = np.random.default_rng(0).integers(20, 95, len(TEST))
    facts = {name: tuple(f"{age:03d}Y" for age in ages) for name in ("PatientAge", "0010,1010")}
    facts["StorageTemperature"] = tuple(map(str, ages))
    found = evaluate_predictions(dataclasses.replace(TEST, facts=facts), bootstrap=0)
    groups = {name: [one.value for one in found.subgroups if one.column == name] for name in facts}
    for name in ("PatientAge", "0010,1010"):
        assert groups[name] == ["20 to 39", "40 to 59", "60 to 79", "80 and over"]
    assert len(groups["StorageTemperature"]) == 4 and groups["StorageTemperature"] != groups["PatientAge"]
