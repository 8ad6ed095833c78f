"""The page needs nothing beside it, lets nothing of the data act, and names no one; files are whole or not there."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_toys import KINDS, drawn_predictions

from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import FPTCalibration, fit_calibration
from monai_fpt.report import evaluate_predictions, fpt_thumbnails, fpt_write_report, save_report

VOID = {"meta", "img", "br"}
HOSTILE = '<script>alert(1)</script> & "b"'


class Page(HTMLParser):
    """Reads a page, keeps its elements, and insists that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(key: str) -> bytes | None:
    if key.endswith("7.png"):
        return None
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 80, 80)).save(buffer, "PNG")
    return buffer.getvalue()


def written(predictions: FPTPredictions, folder: Path, *, calibrated: bool = True, **options: object) -> Page:
    other = dataclasses.replace(predictions, logits=predictions.logits[::-1], labels=predictions.labels[::-1])
    calibration = fit_calibration(other) if calibrated else None
    evaluation = evaluate_predictions(predictions, calibration=calibration, bootstrap=30)
    save_report(evaluation, predictions, folder / "page.html", **options)  # type: ignore[arg-type]
    return Page((folder / "page.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_whole_and_alone(kind: str, tmp_path: Path) -> None:
    page = written(drawn_predictions(kind), tmp_path, pictures=picture, heat_maps=picture)
    used = {tag for tag, _ in page.elements}

    assert not used & {"script", "link", "iframe", "object", "form", "base", "a"}
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert not re.search(r"https?:|url\(|@import", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in page.text
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 3


def test_the_page_has_the_numbers_of_the_evaluation(tmp_path: Path) -> None:
    predictions = drawn_predictions("binary")
    page = written(predictions, tmp_path, calibrated=False)
    evaluation = evaluate_predictions(predictions, bootstrap=30)

    for score in (evaluation.scores["auc"], evaluation.scores["official_auc"], evaluation.scores["ece"]):
        assert f"{score.value:.3f}{score.interval}" in page.text
    (table,) = evaluation.confusion
    assert all(str(number) in page.text for row in table for number in row)
    assert all(text in page.text for _, text in evaluation.notes)
    assert "60 to 79" in page.text and "unknown" in page.text


def test_pictures_are_shown_or_said_to_be_missing(tmp_path: Path) -> None:
    predictions = drawn_predictions("binary")
    page = written(predictions, tmp_path, pictures=lambda key: None, heat_maps=picture)

    assert "no picture" in page.text and page.all("img")
    assert "It holds pictures of patients" in page.text
    assert not written(predictions, tmp_path).all("img")


def test_names_from_the_data_are_text(tmp_path: Path) -> None:
    predictions = dataclasses.replace(
        drawn_predictions("binary", name=HOSTILE),
        classes=(HOSTILE + "0", HOSTILE + "1"),
        facts={HOSTILE: (HOSTILE, "other") * 60},
    )
    page = written(predictions, tmp_path, show_keys=True)

    assert "script" not in {tag for tag, _ in page.elements}
    assert HOSTILE in page.text
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_no_patient_is_named_and_keys_only_when_asked_for(tmp_path: Path) -> None:
    predictions = drawn_predictions("binary", name="Anna Muster ")

    assert "Anna" not in written(predictions, tmp_path, pictures=picture).text
    shown = written(predictions, tmp_path, pictures=picture, show_keys=True).text
    assert "Anna Muster " in shown and "Anna Muster  patient" not in shown


def test_without_errors_the_page_says_so(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    keys = tuple(map(str, range(40)))
    page = written(FPTPredictions(keys, keys, labels, np.eye(2)[labels], ("a", "b")), tmp_path, calibrated=False)

    assert "No decision is wrong." in page.text


def test_one_class_alone_makes_a_page(tmp_path: Path) -> None:
    predictions = dataclasses.replace(drawn_predictions("binary"), labels=np.zeros(120, dtype=int))
    assert "No AUC (one class only)" in written(predictions, tmp_path, calibrated=False).text


def test_the_json_is_strict_and_has_every_score(tmp_path: Path) -> None:
    predictions = drawn_predictions("multiclass")
    evaluation = evaluate_predictions(predictions, bootstrap=10)
    save_report(evaluation, predictions, tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))

    assert set(content["scores"]) == set(evaluation.scores)
    assert content["scores"]["auc"]["value"] == evaluation.scores["auc"].value
    assert content["classes"] == dict(zip(predictions.classes, evaluation.counts, strict=True))


def test_files_are_refused_before_they_mislead(tmp_path: Path) -> None:
    predictions = drawn_predictions("binary")
    evaluation = evaluate_predictions(predictions, bootstrap=0)
    with pytest.raises(ValueError, match=r"'report\.pdf' ends neither in \.html nor in \.json"):
        save_report(evaluation, predictions, tmp_path / "report.pdf")
    with pytest.raises(ValueError, match="the evaluation is of other predictions"):
        save_report(evaluation, drawn_predictions("binary", seed=1), tmp_path / "report.html")
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        save_report(evaluation, predictions, tmp_path / "report.html", pictures=lambda key: b"GIF89a")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "report.json").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    predictions = drawn_predictions("binary")
    with pytest.raises(OSError, match="No space left"):
        save_report(evaluate_predictions(predictions, bootstrap=0), predictions, tmp_path / "report.json")

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.json", "old")]


def test_a_folder_gets_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, validation = drawn_predictions("binary"), drawn_predictions("binary", seed=1, name="validation")
    test.save(tmp_path / "test_predictions.json")
    validation.save(tmp_path / "validation_predictions.json")
    evaluation = fpt_write_report(tmp_path, bootstrap=20)

    assert {"report.html", "report.json", "calibration.json"} < {path.name for path in tmp_path.iterdir()}
    assert evaluation.calibration == FPTCalibration.load(tmp_path / "calibration.json") == fit_calibration(validation)
    assert json.loads((tmp_path / "report.json").read_text())["scores"] == evaluation.to_dict()["scores"]
    assert str(evaluation) in capsys.readouterr().out


def test_a_calibration_of_the_training_is_used(tmp_path: Path) -> None:
    drawn_predictions("binary").save(tmp_path / "evaluation" / "test_predictions.json")
    fitted = fit_calibration(drawn_predictions("binary", seed=1))
    fitted.save(tmp_path / "calibration.json")

    assert fpt_write_report(tmp_path / "evaluation", bootstrap=0, quiet=True).calibration is None
    found = fpt_write_report(tmp_path / "evaluation", run_dir=tmp_path, bootstrap=0, quiet=True)
    assert found.calibration == fitted


def test_validation_predictions_come_before_an_old_calibration(tmp_path: Path) -> None:
    drawn_predictions("binary").save(tmp_path / "test_predictions.json")
    FPTCalibration(9.0, classes=("benign", "malignant")).save(tmp_path / "calibration.json")
    validation = drawn_predictions("binary", seed=1, name="validation")
    validation.save(tmp_path / "validation_predictions.json")

    assert fpt_write_report(tmp_path, bootstrap=0, quiet=True).calibration == fit_calibration(validation)


def test_the_report_of_the_validation_section_stands_beside_that_of_the_test(tmp_path: Path) -> None:
    drawn_predictions("binary").save(tmp_path / "validation_predictions.json")
    evaluation = fpt_write_report(tmp_path, "validation", bootstrap=0, quiet=True)

    assert (tmp_path / "report_validation.html").is_file() and not (tmp_path / "report.html").exists()
    assert any("chosen on these very images" in text for _, text in evaluation.notes)


def test_thresholds_are_not_chosen_on_patients_of_the_test(tmp_path: Path) -> None:
    both = drawn_predictions("binary")
    both.subset(range(60)).save(tmp_path / "test_predictions.json")
    both.subset(range(59, 120)).save(tmp_path / "validation_predictions.json")
    with pytest.warns(UserWarning, match="1 images and 1 patients are in the validation predictions too"):
        evaluation = fpt_write_report(tmp_path)
    assert evaluation.calibration is None and not (tmp_path / "calibration.json").exists()


def test_a_folder_without_predictions_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training_predictions\.json"):
        fpt_write_report(tmp_path, "training")


def test_thumbnails_are_small_pictures_of_the_list(tmp_path: Path) -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:, 300:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    items = [{"key": name, "image": str(tmp_path / name)} for name in ("a.png", "broken.png")]
    thumbnail = fpt_thumbnails(items, side=100)
    content = thumbnail("a.png")

    assert content is not None and thumbnail("broken.png") is None and thumbnail("other.png") is None
    small = np.asarray(Image.open(io.BytesIO(content)))
    assert small.shape == (50, 100, 3) and small[:, :40].max() < 20 and small[:, 60:].min() > 235
