"""The side network alone, trained to compare with: evaluated as it was trained, and never asked as if it knew features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_toys import draw_images, tiny_overrides

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's first import
from monai_fpt.bundle import run_bundle
from monai_fpt.export import fpt_export
from monai_fpt.metrics import FPTPredictions
from monai_fpt.registry import FPTPredictor, package_model

IMAGES = {"train": 4, "val": 2, "test": 2}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images and the run of a side network without features."""
    folder = tmp_path_factory.mktemp("alone")
    images = draw_images(folder / "images", IMAGES)
    overrides = tiny_overrides(images, folder / "run") | {"max_epochs": 1, "track": False, "report": False}
    run_bundle("train", overrides | {"use_features": False})
    return images, folder / "run"


def test_an_evaluation_repeats_the_test_of_the_training(alone: tuple[Path, Path], tmp_path: Path) -> None:
    images, run = alone
    asked = {"dataset_dir": str(images), "run_dir": str(run), "device": "cpu", "report": False, "track": False}
    for name, more in {"as it is": {}, "with features": {"use_features": True}}.items():
        run_bundle("evaluate", asked | more | {"output_dir": str(tmp_path / name)})
    trained, evaluated, otherwise = (
        FPTPredictions.load(folder / "test_predictions.json").logits
        for folder in (run, tmp_path / "as it is", tmp_path / "with features")
    )

    assert np.abs(evaluated - trained).max() < 1e-6
    assert np.abs(otherwise - trained).max() > 1e-5


def test_it_is_not_asked_exported_or_registered(alone: tuple[Path, Path], tmp_path: Path) -> None:
    images, run = alone
    asks = {
        "predict": lambda: run_bundle("predict", {"dataset_dir": str(images), "run_dir": str(run)}),
        "export": lambda: fpt_export(run, "torchscript"),
        "load": lambda: FPTPredictor.from_folder(run),
        "register": lambda: package_model(run, tmp_path / "package"),
    }
    for name, ask in asks.items():
        with pytest.raises((ValueError, RuntimeError)) as caught:
            ask()
        said = f"{caught.value} {caught.value.__cause__}"
        assert "was trained without features" in said, name
    assert not (tmp_path / "package").exists()
