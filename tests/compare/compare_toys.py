"""Drawn images in one folder, tables that label them, and tokens out of nowhere: comparisons in seconds."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's or timm's first import
from monai_fpt.compare import FPTArmData
from monai_fpt.compare.arm import without_test_labels
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.data import FPTDataList
from monai_fpt.metrics import FPTPredictions
from monai_fpt.networks import FPTConfig
from monai_fpt.networks.fpt import frozen_backbone

CLASSES = ("benign", "malignant")
CHEAP = ("fpt_plus", "side_only", "knn", "logistic_regression")
COUNTS = {"train": 20, "val": 12, "test": 12}
CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, side_size=32, backbone_kwargs={"depth": 2}
)

Row = tuple[str, str, str, str]  # image, label, split, patient


def draw_table(root: Path) -> list[Row]:
    """Small noise images whose brightness hints at the class, two of every patient."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows: list[Row] = []
    for split, count in COUNTS.items():
        for number in range(count):
            patient = number // 2
            label = patient % 2
            level = int(random.integers(20, 120)) + 40 * label
            pixels = random.integers(level, level + 100, (80, 70, 3), dtype=np.uint8)
            name = f"images/{split}_{number}.png"
            Image.fromarray(pixels).save(root / name)
            rows.append((name, CLASSES[label], split, f"{split}_{patient}"))
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """A table as a user has it."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "split", "patient"), *rows])
    return path


def toy_overrides(table: Path, run_dir: Path, cache: Path) -> dict[str, Any]:
    """A network that trains in a second."""
    return {
        "data_list": str(table),
        "dataset_dir": str(table.parent),
        "group_column": "patient",
        "run_dir": str(run_dir),
        "cache_dir": str(cache),
        "backbone": CONFIG.backbone,
        "backbone_weights": None,
        "image_size": CONFIG.image_size,
        "network_config#backbone_kwargs": dict(CONFIG.backbone_kwargs),
        "network_config#side_size": CONFIG.side_size,
        "max_epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.005,
        "device": "cpu",
        "report": False,
        "track": False,
    }


def token_data(
    work_dir: Path,
    *,
    classes: int = 2,
    counts: Mapping[str, int] | None = None,
    several: bool = False,
    signal: float = 3.0,
    tokens: int = 5,
    width: int = 6,
    prefix: int = 1,
) -> tuple[FPTArmData, dict[str, Tensor], FPTDataList]:
    """What an arm sees, of tokens whose class shows in one channel each; with the tokens and the list that has all labels."""
    random = torch.Generator().manual_seed(5)
    counts = counts or {"training": 40, "validation": 20, "test": 20}
    sections: dict[str, list[dict[str, Any]]] = {}
    drawn: dict[str, Tensor] = {}
    for section, count in counts.items():
        labels = torch.arange(count) % classes
        values = torch.randn(count, tokens, width, generator=random)
        values[torch.arange(count), :, labels] += signal
        drawn[section] = values
        marks = [[float(k == label) for k in range(classes)] if several else int(label) for label in labels]
        sections[section] = [
            {"key": f"{section}/{n}", "image": f"{section}/{n}", "label": mark} for n, mark in enumerate(marks)
        ]
    names = tuple(f"class_{k}" for k in range(classes))
    data = FPTDataList(classes=names, task="multilabel" if several else "multiclass", **sections)
    arm_data = FPTArmData(
        data=without_test_labels(data),
        task=data.task,
        num_classes=classes,
        backbone=frozen_backbone(CONFIG),
        network_config=CONFIG,
        load=lambda item: torch.zeros(3, 64, 64),
        tokens=drawn.__getitem__,
        num_prefix_tokens=prefix,
        has_class_token=prefix > 0,
        work_dir=work_dir,
        device=torch.device("cpu"),
        class_weights="equal",
    )
    return arm_data, drawn, data


def run_of(seed: int, scores: Sequence[float], labels: Sequence[int], groups: Sequence[str]) -> FPTArmRun:
    """A training of two classes that gave test images these scores."""
    predictions = FPTPredictions(
        keys=tuple(str(n) for n in range(len(labels))),
        groups=tuple(groups),
        labels=np.array(labels),
        logits=np.stack([np.zeros(len(labels)), np.array(scores)], axis=1),
        classes=("no", "yes"),
    )
    return FPTArmRun("arm", seed, {"test": predictions}, 1, None, 1.0, None, {}, [], {})
