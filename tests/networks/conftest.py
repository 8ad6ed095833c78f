"""Fixtures of the networks' tests: one thread, and configurations so small that a test takes a blink."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_fpt.networks import FPTClassifier, FPTConfig


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> Callable[..., FPTConfig]:
    """Makes a ViT-Tiny of two blocks at 64 px (17 tokens, 3 heads of 64); keywords change fields."""

    def make(**changes: Any) -> FPTConfig:
        depth = changes.pop("depth", 2)
        fields: dict[str, Any] = {
            "backbone": "vit_tiny_patch16_224",
            "backbone_weights": None,
            "image_size": 64,
            "num_classes": 3,
            "side_size": 32,
            "token_ratio": 0.4,
            "num_prompts": 4,
            "backbone_kwargs": {"depth": depth},
        }
        return FPTConfig(**(fields | changes))

    return make


@pytest.fixture
def loud() -> Callable[..., FPTClassifier]:
    """Makes a network in eval mode whose learnable weights are large, so that no part of it is hidden by an initialisation near zero."""

    def make(config: FPTConfig) -> FPTClassifier:
        model = FPTClassifier(config)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model.eval()

    return make


@pytest.fixture
def real_weights() -> Path:
    """Folder of the pretrained ViT-Tiny; tests that need it are skipped where it is not given."""
    folder = os.environ.get("MONAI_FPT_TEST_WEIGHTS")
    if not folder:
        pytest.skip(
            "needs pretrained weights: set MONAI_FPT_TEST_WEIGHTS to the folder with vit_tiny_patch16_224_*.safetensors"
        )
    return Path(folder)
