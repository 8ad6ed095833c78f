"""Gradients are clipped by their common norm, those of each member of a network alone."""

from __future__ import annotations

import types

import pytest
import torch
from torch import Tensor, nn

from monai_fpt.handlers import FPTGradientClipHandler
from monai_fpt.networks import FPTClassifier, FPTConfig


def clipped(network: nn.Module, max_norm: float) -> list[Tensor]:
    """Gradients after the handler has seen them, those of no weight left out."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    engine = types.SimpleNamespace(optimizer=torch.optim.AdamW(parameters), network=network, scaler=None)
    FPTGradientClipHandler(max_norm)(engine)
    return [p.grad for p in parameters if p.grad is not None]


def norm(gradients: list[Tensor]) -> float:
    return float(torch.cat([g.flatten() for g in gradients]).norm())


@pytest.mark.parametrize(("before", "after"), [(5.0, 1.0), (0.5, 0.5)], ids=["too large", "small enough"])
def test_the_norm_of_all_gradients_is_limited(before: float, after: float) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    scale = before / norm([p.grad for p in network.parameters() if p.grad is not None])
    for parameter in network.parameters():
        assert parameter.grad is not None
        parameter.grad *= scale

    assert norm(clipped(network, 1.0)) == pytest.approx(after, rel=1e-4)


def test_each_member_is_clipped_as_it_would_be_alone() -> None:
    config = FPTConfig(
        backbone="vit_tiny_patch16_224",
        backbone_weights=None,
        image_size=64,
        side_size=32,
        members=2,
        backbone_kwargs={"depth": 2},
    )
    network = FPTClassifier(config)
    own: dict[str, list[Tensor]] = {".members.0.": [], ".members.1.": []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            member = next(part for part in own if part in name)
            gradient = torch.randn_like(parameter) * (10 if member == ".members.0." else 1e-4)
            own[member].append(gradient)
            parameter.grad = gradient / 2  # of the mean of two losses

    clipped(network, 1.0)

    for member, alone in own.items():
        found = [2 * p.grad for name, p in network.named_parameters() if member in name and p.grad is not None]
        limit = min(1.0, 1.0 / norm(alone))
        torch.testing.assert_close(found, [g * limit for g in alone], rtol=1e-4, atol=1e-9)
