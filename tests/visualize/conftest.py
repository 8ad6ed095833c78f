"""Fixtures of the maps' tests: one thread, and a small network none of whose parts is near zero. Scripts of ``benchmarks/`` are
imported from the root of the checkout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_fpt.networks import FPTClassifier, FPTConfig, TokenFeatures

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def network() -> Callable[..., FPTClassifier]:
    """Makes a network in eval mode on a ViT-Tiny of four blocks at 64 px (1 + 4 x 4 tokens, 3 heads of 64); keywords change fields."""

    def make(**changes: Any) -> FPTClassifier:
        fields: dict[str, Any] = {
            "backbone": "vit_tiny_patch16_224",
            "backbone_weights": None,
            "image_size": 64,
            "num_classes": 3,
            "side_size": 32,
            "token_ratio": 0.4,
            "num_prompts": 4,
            "backbone_kwargs": {"depth": 4},
        }
        model = FPTClassifier(FPTConfig(**(fields | changes))).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model

    return make


@pytest.fixture
def seen() -> Callable[..., tuple[torch.Tensor, TokenFeatures]]:
    """Draws random images for a network and gives the small ones and what the backbone keeps of the large ones."""

    def make(model: FPTClassifier, batch: int = 3) -> tuple[torch.Tensor, TokenFeatures]:
        images = torch.randn(batch, 3, 64, 64)
        kept = model.backbone(images)
        return model.reduce_image(images), TokenFeatures(kept.features * 3, kept.indices)

    return make
