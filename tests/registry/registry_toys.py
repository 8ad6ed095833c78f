"""A tiny trained run to register, and images as a hospital has them."""

from __future__ import annotations

import base64
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's or timm's first import
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import FPTPredictions, fpt_weights_sha256
from monai_fpt.metrics.calibration import fit_calibration
from monai_fpt.networks import FPTClassifier, FPTConfig

CLASSES = ("benign", "malignant")
CROP = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": "image", "roi_size": [60, 50]}
PATIENT = "Muster-Erika-1970"
CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224",
    backbone_weights=None,
    image_size=64,
    side_size=32,
    num_tokens=4,
    backbone_kwargs={"depth": 2},
)


def draw_table(root: Path) -> Path:
    """Noise images whose brightness tells the class, two of each patient, and their table."""
    random = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = []
    for number in range(28):
        label = number // 2 % 2
        name = f"{PATIENT}-{number}.png"
        Image.fromarray(random.integers(60 * label, 120 + 60 * label, (90, 70, 3), dtype=np.uint8)).save(root / name)
        split = "train" if number < 12 else "val" if number < 20 else "test"
        rows.append({"image": name, "label": CLASSES[label], "patient": f"{PATIENT}-{number // 2}", "split": split})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


def train_tiny(images: Path, run: Path, **overrides: Any) -> Path:
    """Train the bundle in seconds, and fit a calibration."""
    from monai_fpt.bundle import run_bundle

    settings = {
        "dataset_dir": str(images),
        "data_list": str(images / "labels.csv"),
        "run_dir": str(run),
        "backbone": CONFIG.backbone,
        "backbone_weights": None,
        "image_size": 64,
        "network_config#backbone_kwargs": {"depth": 2},
        "network_config#side_size": 32,
        "preparing": [CROP],
        "max_epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.005,
        "device": "cpu",
        "track": False,
    }
    run_bundle("train", settings | overrides)
    if not (run / "calibration.json").exists():
        fit_calibration(FPTPredictions.load(run / "validation_predictions.json")).save(run / "calibration.json")
    return run


def untrained_run(folder: Path, config: FPTConfig = CONFIG, **facts: Any) -> Path:
    """A run's folder with a network as it was initialised."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = FPTClassifier(config)
    torch.save(network.state_dict(), folder / "model.pt")
    known = {"classes": CLASSES[: config.num_classes]} | facts
    FPTModelCard(config, **known).save(folder / "model.json")
    return folder


def with_weights_file(folder: Path, weights: Path, seed: int = 0) -> Path:
    """A run whose backbone's weights are a file of the user."""
    from safetensors.torch import save_file

    from monai_fpt.networks._weights import create_trunk

    trunk = create_trunk(CONFIG.backbone, None, CONFIG.backbone_kwargs)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value + 0.01 * torch.randn(value.shape, generator=generator) for name, value in trunk.state_dict().items()
    }
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, weights)
    return untrained_run(folder, dataclasses.replace(CONFIG, backbone_weights=str(weights)))


def copied_run(run: Path, folder: Path, predictions: FPTPredictions | None = None) -> Path:
    """A copy, with other predictions for its test section, said to be of its weights unless they say otherwise."""
    folder.mkdir(parents=True)
    for path in run.iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    if predictions is not None:
        whose = predictions.weights_sha256 or weights_of(folder)
        dataclasses.replace(predictions, weights_sha256=whose).save(folder / "test_predictions.json")
    return folder


def weights_of(run: Path) -> str:
    """Which weights a run has."""
    return fpt_weights_sha256(torch.load(run / "model.pt", weights_only=True))


def drawn_predictions(strength: float, count: int = 120, seed: int = 0) -> FPTPredictions:
    """Predictions of a network that is the better the stronger."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    signal = strength * (2 * labels - 1) + random.normal(size=count)
    names = tuple(f"{PATIENT}-{number}" for number in range(count))
    return FPTPredictions(names, names, labels, np.stack([-signal / 2, signal / 2], axis=1), CLASSES)


def as_text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
