"""A predictor asks the network with what the bundle's inference asks it with, and refuses whatever would give other numbers."""

from __future__ import annotations

import csv
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry_toys import CLASSES, CONFIG, copied_run, untrained_run, with_weights_file
from scipy.special import expit, softmax

from monai_fpt.data import ImageReadError
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.networks import BackboneMismatchError
from monai_fpt.registry import FPTPredictor


@pytest.fixture(scope="module")
def predictor(toy_run: Path) -> FPTPredictor:
    return FPTPredictor.from_folder(toy_run)


def files(images: Path) -> list[Path]:
    return sorted(images.glob("*.png"))


def test_logits_are_exactly_those_of_the_bundle_s_inference(
    predictor: FPTPredictor, toy_run: Path, toy_images: Path, tmp_path: Path
) -> None:
    from monai_fpt.bundle import run_bundle

    table = tmp_path / "predictions.csv"
    asked = {"dataset_dir": str(toy_images), "run_dir": str(toy_run), "output_file": str(table), "batch_size": 8}
    workflow = run_bundle("predict", asked | {"device": "cpu"})
    dataset = workflow.parser.get_parsed_content("dataset")
    network = workflow.parser.get_parsed_content("network").eval()
    ours = torch.stack([predictor.prepare(item["image"]) for item in dataset.data[:8]])
    theirs = torch.stack([dataset[number]["image"].as_tensor() for number in range(8)])
    with torch.no_grad():
        assert torch.equal(ours, theirs) and torch.equal(predictor.logits(ours), network(theirs))
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers = predictor.predict([toy_images / row["image"] for row in rows])
    assert [row["predicted"] for row in rows] == [answer.predicted[0] for answer in answers]
    assert [float(row["malignant"]) for row in rows] == pytest.approx([a.probabilities[1] for a in answers], abs=1e-6)


def test_probabilities_calibration_and_operating_points_follow_from_the_logits(
    predictor: FPTPredictor, toy_run: Path, toy_images: Path
) -> None:
    fitted = FPTCalibration(2.5, {"malignant/youden": 0.5, "malignant/sensitivity_0.90": 0.0}, classes=CLASSES)
    calibrated = FPTPredictor(predictor.card, predictor.network, fitted)
    for answer in calibrated.predict(files(toy_images)[:4]):
        assert answer.probabilities == pytest.approx(softmax(answer.logits))
        assert answer.calibrated == pytest.approx(softmax(np.array(answer.logits) / 2.5))
        assert answer.predicted == (CLASSES[int(np.argmax(answer.logits))],)
        assert answer.calibrated is not None
        assert answer.passed == {"malignant/youden": answer.calibrated[1] >= 0.5, "malignant/sensitivity_0.90": True}


def test_thresholds_for_patients_do_not_judge_images(predictor: FPTPredictor, toy_images: Path) -> None:
    fitted = FPTCalibration(2.0, {"malignant/youden": 0.5}, classes=CLASSES, aggregate="mean")
    answer = FPTPredictor(predictor.card, predictor.network, fitted).predict(files(toy_images)[:1])[0]
    assert answer.passed is None and answer.calibrated is not None


def test_several_findings_are_those_of_one_half_and_more(tmp_path: Path, toy_images: Path) -> None:
    run = untrained_run(
        tmp_path, dataclasses.replace(CONFIG, num_classes=3), classes=("a", "b", "c"), task="multilabel"
    )
    answer = FPTPredictor.from_folder(run).predict(files(toy_images)[:1])[0]
    assert answer.probabilities == pytest.approx(expit(answer.logits))
    assert answer.predicted == tuple(name for name, logit in zip("abc", answer.logits, strict=True) if logit >= 0)


def test_a_calibration_of_other_classes_is_refused(predictor: FPTPredictor) -> None:
    with pytest.raises(ValueError, match="fit it on this model's validation predictions"):
        FPTPredictor(predictor.card, predictor.network, FPTCalibration(1.0, classes=("x", "y")))


def test_many_threads_get_what_one_gets(predictor: FPTPredictor, toy_images: Path) -> None:
    images = [predictor.prepare(file)[None] for file in files(toy_images)]
    alone = [predictor.logits(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor.logits, images * 3))
    assert all(torch.equal(a, b) for a, b in zip(alone * 3, together, strict=True))


def test_a_long_batch_goes_through_in_parts_and_keeps_its_order(predictor: FPTPredictor, toy_images: Path) -> None:
    images = torch.stack([predictor.prepare(file) for file in files(toy_images)[:11]])
    parts = FPTPredictor(predictor.card, predictor.network, batch_size=3).logits(images)
    assert torch.allclose(parts, predictor.logits(images), atol=1e-6)
    assert predictor.predict([]) == []


def test_a_frame_of_a_file_of_several_is_read(predictor: FPTPredictor, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((70, 60), grey, np.uint8)) for grey in (0, 128, 255)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[1].save(tmp_path / "one.png")
    assert torch.equal(predictor.prepare(tmp_path / "pages.tif", frame=1), predictor.prepare(tmp_path / "one.png"))
    with pytest.raises(ImageReadError, match="3 pages or frames"):
        predictor.prepare(tmp_path / "pages.tif")


def test_the_reader_s_own_sentence_is_what_a_caller_gets(predictor: FPTPredictor, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"^cannot read image '.*a.png': the file is empty;"):
        predictor.prepare(tmp_path / "a.png")


def test_a_heat_map_has_a_number_for_every_patch(predictor: FPTPredictor, toy_images: Path) -> None:
    heat = predictor.heat_map(predictor.prepare(files(toy_images)[0]), "malignant")
    assert heat.shape == (4, 4) and float(heat.min()) >= 0 and float(heat.max()) <= 1
    with pytest.raises(ValueError, match="its classes are benign, malignant"):
        predictor.heat_map(predictor.prepare(files(toy_images)[0]), "healthy")


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    run = with_weights_file(tmp_path / "run", tmp_path / "weights.safetensors", seed=1)
    with_weights_file(tmp_path / "other", tmp_path / "other.safetensors", seed=2)
    assert FPTPredictor.from_folder(run)
    with pytest.raises(BackboneMismatchError):
        FPTPredictor.from_folder(run, backbone_weights=tmp_path / "other.safetensors")


def test_a_missing_backbone_is_refused(tmp_path: Path) -> None:
    run = with_weights_file(tmp_path / "run", tmp_path / "weights.safetensors")
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        FPTPredictor.from_folder(run)


def test_an_adapter_that_names_no_backbone_is_refused(tmp_path: Path) -> None:
    run = untrained_run(tmp_path)
    state = torch.load(run / "model.pt", weights_only=True)
    del state["backbone_id"]
    torch.save(state, run / "model.pt")
    with pytest.raises(ValueError, match="does not name its backbone"):
        FPTPredictor.from_folder(run)


def test_broken_and_absent_models_are_one_sentence(tmp_path: Path) -> None:
    run = untrained_run(tmp_path)
    (run / "model.pt").write_bytes((run / "model.pt").read_bytes()[:100])
    with pytest.raises(ValueError, match="broken or truncated"):
        FPTPredictor.from_folder(run)
    (run / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match="neither adapter"):
        FPTPredictor.from_folder(run)


def test_a_model_of_another_preparation_is_refused(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    card = json.loads((run / "model.json").read_text(encoding="utf-8"))
    card["preparing"] = []
    (run / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match="read or prepared otherwise"):
        FPTPredictor.from_folder(run)
