"""The shipped backbone and settings fit each other and the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from monai_fpt.networks import FPTClassifier, FPTConfig, frozen_backbone
from monai_fpt.quickstart import settings
from monai_fpt.quickstart.train_backbone import NUM_TEXTURES, draw_texture, train_backbone


def test_the_weights_load_strictly_and_give_finite_features() -> None:
    backbone = frozen_backbone(FPTConfig.from_dict(settings.NETWORK))
    features = backbone(torch.randn(1, 3, 512, 512)).features
    assert features.shape == (1, *backbone.feature_shape)
    assert torch.isfinite(features).all()


def test_the_weights_are_small_and_in_half_precision() -> None:
    assert Path(settings.BACKBONE_WEIGHTS).stat().st_size <= 2e6
    with safe_open(settings.BACKBONE_WEIGHTS, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_the_network_of_the_settings_learns_from_features() -> None:
    model = FPTClassifier(FPTConfig.from_dict(settings.NETWORK))
    features = torch.randn(2, *model.backbone.feature_shape)
    model(torch.randn(2, 3, 128, 128), features).sum().backward()
    assert model.fusion.prompts.grad is not None


def test_settings_survive_json() -> None:
    config = FPTConfig.from_dict(settings.NETWORK)
    assert FPTConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("index", range(NUM_TEXTURES))
def test_a_texture_has_mean_zero_and_deviation_one(index: int) -> None:
    texture = draw_texture(np.random.default_rng(index), index, 96)
    assert texture.shape == (96, 96)
    assert texture.mean() == pytest.approx(0, abs=1e-4)
    assert texture.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_the_script_makes_weights_that_load(tmp_path: Path) -> None:
    path = tmp_path / "texture_vit.safetensors"
    train_backbone(path, steps=2, batch=2, samples=1)
    frozen_backbone(FPTConfig.from_dict(settings.NETWORK | {"backbone_weights": str(path)}))
