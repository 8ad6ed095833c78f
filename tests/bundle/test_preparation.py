"""What is done to images travels with the model: reader, preparation and order of classes are those of the training, in
every later process."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from bundle_toys import CLASSES, draw_images, tiny_overrides

from monai_fpt.bundle import run_bundle
from monai_fpt.features import FPTModelCard
from monai_fpt.handlers import fpt_root_cause

CROP = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": "image", "roi_size": [40, 40]}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images and the run of a training on crops of them."""
    folder = tmp_path_factory.mktemp("prepared")
    images = draw_images(folder / "images")
    settings = {"preparing": [CROP], "max_epochs": 1, "track": False}
    run_bundle("train", tiny_overrides(images, folder / "run") | settings)
    return images, folder / "run"


def test_the_model_carries_its_preparation(prepared: tuple[Path, Path]) -> None:
    card = FPTModelCard.load(prepared[1] / "model.json")
    assert card.preparing == [CROP] and card.reader["min_size"] == 128
    assert card.features is not None and "CenterSpatialCrop" in card.features.preprocessing


def test_evaluation_and_prediction_prepare_images_as_the_training_did(
    prepared: tuple[Path, Path], tmp_path: Path
) -> None:
    images, run = prepared
    common = {"dataset_dir": str(images), "run_dir": str(run), "device": "cpu"}
    own = {"cache_dir": str(tmp_path / "anew"), "output_dir": str(tmp_path), "track": False, "batch_size": 4}
    # in the training's batches: processors may round those of another size differently
    run_bundle("evaluate", common | own)
    assert rows(tmp_path / "test_predictions.csv") == rows(run / "test_predictions.csv")
    run_bundle("predict", common | {"dataset_dir": str(images / "test"), "output_file": str(tmp_path / "p.csv")})
    uncached = {row["image"]: float(row["malignant"]) for row in rows(tmp_path / "p.csv")}
    for row in rows(run / "test_predictions.csv"):
        assert uncached[row["image"].removeprefix("test/")] == pytest.approx(float(row["malignant"]), abs=2e-3)


@pytest.mark.parametrize(
    "change", [{"preparing": []}, {"reader": "$monai_fpt.data.FPTImageReader(voi='never')"}], ids=str
)
def test_another_preparation_is_refused(prepared: tuple[Path, Path], tmp_path: Path, change: dict[str, Any]) -> None:
    images, run = prepared
    with pytest.raises(Exception) as caught:
        run_bundle(
            "predict",
            {"dataset_dir": str(images), "run_dir": str(run), "output_file": str(tmp_path / "p.csv")} | change,
        )
    assert "read or prepared otherwise" in str(fpt_root_cause(caught.value))
    assert not (tmp_path / "p.csv").exists()


def test_a_model_file_cannot_run_foreign_code(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    images, run = prepared
    card = json.loads((run / "model.json").read_text(encoding="utf-8"))
    card["preparing"] = [{"_target_": "os.system", "command": f"touch {tmp_path / 'harm'}"}]
    evil = tmp_path / "run"
    evil.mkdir()
    (evil / "model.json").write_text(json.dumps(card), encoding="utf-8")
    (evil / "model.pt").write_bytes((run / "model.pt").read_bytes())
    with pytest.raises(Exception) as caught:
        run_bundle(
            "predict", {"dataset_dir": str(images), "run_dir": str(evil), "output_file": str(tmp_path / "p.csv")}
        )
    assert "os.system" in str(fpt_root_cause(caught.value))
    assert not (tmp_path / "harm").exists()


def test_slices_of_volumes_are_trained_and_scored_by_patient(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = []
    for n in range(16):
        volume = random.integers(60 * (n % 2), 120 + 60 * (n % 2), (40, 48, 3), dtype=np.uint8)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{n}.nii.gz")
        split = "train" if n < 8 else "val" if n < 12 else "test"
        table += [
            {"image": f"{n}.nii.gz", "slice": k, "label": CLASSES[n % 2], "patient": f"p{n}", "split": split}
            for k in (0, 2)
        ]
    pd.DataFrame(table).to_csv(tmp_path / "labels.csv", index=False)
    run = tmp_path / "run"
    overrides = tiny_overrides(tmp_path, run) | {
        "data_list": str(tmp_path / "labels.csv"),
        "aggregate": "mean",
        "track": False,
    }
    workflow = run_bundle("train", overrides)
    scores = workflow.parser.get_parsed_content("test#evaluator").state.metrics
    assert {"auc", "patient_auc", "patient_accuracy"} <= set(scores)
    images, patients = rows(run / "test_predictions.csv"), rows(run / "test_patients.csv")
    assert sorted(row["image"] for row in images) == sorted(f"{n}.nii.gz#{k}" for n in range(12, 16) for k in (0, 2))
    for row in patients:
        own = [float(i["malignant"]) for i in images if i["image"].startswith(f"{row['patient'][1:]}.nii.gz")]
        assert float(row["malignant"]) == pytest.approx(np.mean(own), abs=1e-6) and len(own) == 2
    asked = pd.DataFrame(table).query("split == 'test'").drop(columns="label")
    asked.to_csv(tmp_path / "new.csv", index=False)
    settings = {"dataset_dir": str(tmp_path), "data_list": str(tmp_path / "new.csv"), "run_dir": str(run)}
    run_bundle("predict", settings | {"output_file": str(tmp_path / "p.csv"), "device": "cpu"})
    uncached = {row["image"]: float(row["malignant"]) for row in rows(tmp_path / "p.csv")}
    assert uncached.keys() == {row["image"] for row in images}
    for row in images:
        assert uncached[row["image"]] == pytest.approx(float(row["malignant"]), abs=2e-3)


def test_flips_and_turns_of_the_side_image_train(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    overrides = tiny_overrides(prepared[0], tmp_path / "run") | {
        "vertical_flip_prob": 0.5,
        "rotate_prob": 0.5,
        "max_epochs": 1,
        "track": False,
    }
    run_bundle("train", overrides)
    assert (tmp_path / "run" / "model.pt").exists()


def test_patients_with_two_labels_are_refused_before_anything_is_done(
    prepared: tuple[Path, Path], tmp_path: Path
) -> None:
    images, _ = prepared
    table = [
        {
            "image": p.relative_to(images).as_posix(),
            "label": p.parent.name,
            "split": p.parent.parent.name,
            "patient": p.parent.parent.name,
        }
        for p in images.rglob("*.png")
    ]
    pd.DataFrame(table).to_csv(tmp_path / "labels.csv", index=False)
    overrides = tiny_overrides(images, tmp_path / "run") | {
        "data_list": str(tmp_path / "labels.csv"),
        "aggregate": "max",
    }
    with pytest.raises(Exception) as caught:
        run_bundle("train", overrides)
    assert "12 images of one patient or group have the different labels" in str(fpt_root_cause(caught.value))
    assert not (tmp_path / "run").exists()


def test_a_random_preparation_is_refused(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    entry = {"_target_": "RandFlipd", "keys": "image", "prob": 0.5}
    for job in ("train", "extract"):
        overrides = tiny_overrides(prepared[0], tmp_path / "run") | {
            "preparing": [entry],
            "cache_dir": str(tmp_path / "cache"),
        }
        overrides = (
            overrides
            if job == "train"
            else {
                k: v for k, v in overrides.items() if k not in ("max_epochs", "batch_size", "learning_rate", "report")
            }
        )
        with pytest.raises(Exception) as caught:
            run_bundle(job, overrides)
        assert "preparing holds the random RandFlipd" in str(fpt_root_cause(caught.value))


def test_a_preparation_that_a_model_cannot_rebuild_is_said_at_the_training(
    prepared: tuple[Path, Path], tmp_path: Path
) -> None:
    entry = {"_target_": "monai.transforms.Lambdad", "keys": "image", "func": "$lambda x: x"}
    overrides = tiny_overrides(prepared[0], tmp_path / "run") | {"preparing": [entry], "max_epochs": 1, "track": False}
    with pytest.warns(UserWarning, match="This model will not know its own preparing"):
        run_bundle("train", overrides)
