"""MONAI's class activation maps work on the side network through its spatial map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.visualize import GradCAM, GradCAMpp


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
def test_grad_cam_is_the_gradient_weighted_map_before_the_last_block(
    method: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method, side_size=48)
    side_image, kept = seen(model, batch=1)

    cam = GradCAM(model, "side.spatial").compute_map(side_image, class_idx=1, features=kept.features).detach()

    inputs = []
    model.side.blocks[-1].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    logits = model(side_image, kept.features)
    (gradient,) = torch.autograd.grad(logits[0, 1], inputs[0])
    weights = gradient[0, 1:].mean(0)
    expected = (inputs[0][0, 1:] @ weights).relu().reshape(3, 3).detach()
    assert expected.max() > 0
    torch.testing.assert_close(cam[0, 0], expected)


@pytest.mark.parametrize("kind", [GradCAM, GradCAMpp])
def test_a_large_image_alone_gets_a_map_of_its_size(kind: Any, network: Callable[..., Any]) -> None:
    assert kind(network(), "side.spatial")(torch.randn(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_the_spatial_map_is_of_no_consequence_for_what_is_saved(network: Callable[..., Any]) -> None:
    assert not [name for name in network().state_dict() if "spatial" in name]
