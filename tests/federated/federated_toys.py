"""Drawn images, a small network, and FedAvg by hand: what a server does with what the sites send."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's or timm's first import

ROUNDS = 2
CLASSES = ("benign", "malignant")
SPLITS = ("train", "val", "test")
SETTINGS: dict[str, Any] = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_weights": None,
    "image_size": 64,
    "network_config#backbone_kwargs": {"depth": 2},
    "network_config#side_size": 32,
    "batch_size": 4,
    "learning_rate": 0.005,
}


@dataclasses.dataclass(frozen=True)
class Federated:
    """What went over the wire in every round, and what came out."""

    plan: Path
    runs: list[Path]
    sent: list[dict[str, Tensor]]
    received: list[list[dict[str, Tensor]]]
    rates: list[float]
    weights: dict[str, Tensor]


def draw_site(root: Path, seed: int = 0, classes: Sequence[str] = CLASSES, count: int = 4) -> Path:
    """Class folders of small noise images whose brightness tells the class."""
    random = np.random.default_rng(seed)
    for split in SPLITS:
        for name in classes:
            for number in range(count):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                low = 60 * CLASSES.index(name) if name in CLASSES else 30
                pixels = random.integers(low, low + 120, (90, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{seed}_{number}.png")
    return root


def averaged(
    weights: Mapping[str, Tensor], changes: Sequence[Mapping[str, Tensor]], steps: Sequence[int]
) -> dict[str, Tensor]:
    """What the sites changed, weighted by their steps, added to what they were sent."""
    total = sum(steps)
    mean = {name: sum(c[name] * (n / total) for c, n in zip(changes, steps, strict=True)) for name in changes[0]}
    return {name: value + mean[name] if name in mean else value for name, value in weights.items()}


def num_bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in weights.values())


def copied(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value).clone() for name, value in weights.items()}
