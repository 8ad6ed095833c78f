"""A tiny data set, and the settings of a network that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's or timm's first import

CLASSES = ("benign", "malignant")
COUNTS = {"train": 8, "val": 6, "test": 6}


def draw_images(root: Path, counts: dict[str, int] = COUNTS, classes: tuple[str, ...] = CLASSES) -> Path:
    """Class folders of small noise images whose brightness tells the class."""
    random = np.random.default_rng(0)
    for split, count in counts.items():
        for label, name in enumerate(classes):
            for number in range(count):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(60 * label, 120 + 60 * label, (90, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def tiny_overrides(images: Path, run_dir: Path) -> dict[str, Any]:
    """A network that trains in seconds."""
    return {
        "dataset_dir": str(images),
        "run_dir": str(run_dir),
        "backbone": "vit_tiny_patch16_224",
        "backbone_weights": None,
        "image_size": 64,
        "network_config#backbone_kwargs": {"depth": 2},
        "network_config#side_size": 32,
        "max_epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.005,
        "device": "cpu",
        "report": False,
    }
