"""Drawn images and a small recipe for experiments that run in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's or timm's first import

CLASSES = ("benign", "malignant")
COUNTS = {"train": 11, "val": 6, "test": 5}


def draw_images(root: Path, counts: dict[str, int] = COUNTS) -> Path:
    """Class folders of small noise images whose brightness hints at the class."""
    random = np.random.default_rng(0)
    for split, count in counts.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                level = int(random.integers(20, 120)) + 30 * label
                pixels = random.integers(level, level + 100, (90, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def small_overrides(images: Path, run_dir: Path, cache: Path) -> dict[str, Any]:
    """A network that trains in a second."""
    return {
        "dataset_dir": str(images),
        "run_dir": str(run_dir),
        "cache_dir": str(cache),
        "backbone": "vit_tiny_patch16_224",
        "backbone_weights": None,
        "image_size": 64,
        "network_config#backbone_kwargs": {"depth": 2},
        "network_config#side_size": 32,
        "max_epochs": 3,
        "batch_size": 8,
        "learning_rate": 0.005,
        "device": "cpu",
        "report": False,
        "track": False,
    }
