"""A tiny random ViT and drawn images whose redness is the label."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_fpt.compare.arm import FPTArmData, without_test_labels
from monai_fpt.compare.tuning import (
    FPTBitFitArm,
    FPTDoraArm,
    FPTFullFineTuningArm,
    FPTLastBlockArm,
    FPTLoraArm,
    FPTTuningArm,
)
from monai_fpt.data import FPTDataList
from monai_fpt.networks import FPTConfig, FrozenViT

WIDTH, DEPTH, PATCH, SIZE = 64, 2, 16, 32
TINY = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": 2}
NAME = "vit_tiny_patch16_224"
COUNTS = {"training": 18, "validation": 8, "test": 6}

ARMS: dict[str, FPTTuningArm] = {
    "lora": FPTLoraArm(max_epochs=2),
    "dora": FPTDoraArm(max_epochs=2),
    "bitfit": FPTBitFitArm(max_epochs=2),
    "last_block": FPTLastBlockArm(max_epochs=2),
    "full_fine_tuning": FPTFullFineTuningArm(max_epochs=2),
}


def drawn(item: Mapping[str, Any]) -> Tensor:
    """A noisy image; those of class 1 are redder."""
    noise = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(int(item["image"])))
    label = item["drawn_as"]
    return torch.cat([0.5 * noise[:1] + 0.5 * label, noise[1:]])


def toy_data(counts: Mapping[str, int] = COUNTS) -> FPTDataList:
    """Two classes in turn."""
    sections, number = {}, 0
    for section in ("training", "validation", "test"):
        items = []
        for _ in range(counts[section]):
            items.append({"key": f"{number}.png", "image": str(number), "label": number % 2, "drawn_as": number % 2})
            number += 1
        sections[section] = items
    return FPTDataList(classes=("pale", "red"), **sections)


def toy_arm_data(
    work_dir: Path, data: FPTDataList | None = None, name: str = NAME, tiny: Mapping[str, Any] = TINY, **changes: Any
) -> FPTArmData:
    """What the harness would give an arm."""
    config = FPTConfig(backbone=name, backbone_weights=None, image_size=SIZE, num_tokens=2, backbone_kwargs=tiny)
    arm_data = FPTArmData(
        data=without_test_labels(data or toy_data()),
        task="multiclass",
        num_classes=2,
        backbone=FrozenViT(name, None, image_size=SIZE, num_tokens=2, create_kwargs=dict(tiny)),
        network_config=config,
        load=drawn,
        tokens=lambda section: torch.empty(0),
        num_prefix_tokens=1,
        has_class_token=True,
        work_dir=work_dir,
        device=torch.device("cpu"),
        class_weights="equal",
    )
    return dataclasses.replace(arm_data, **changes)
