"""How the side network's weights start: the paper's 0.02 whatever the width, or a gain of one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_fpt.networks import FPTClassifier, FPTConfig


def network(side_init: str) -> FPTClassifier:
    torch.manual_seed(3)
    return FPTClassifier(
        FPTConfig(
            backbone="vit_tiny_patch16_224",
            backbone_weights=None,
            image_size=32,
            side_size=32,
            side_init=side_init,  # type: ignore[arg-type]
            backbone_kwargs={"depth": 4},
        )
    )


def test_the_paper_s_weights_have_one_spread_whatever_the_width() -> None:
    spread = [layer.weight.std().item() for layer in network("fixed").side.modules() if isinstance(layer, nn.Linear)]

    assert spread[:-1] == pytest.approx([0.02] * (len(spread) - 1), rel=0.08)


def test_with_fan_in_each_layer_of_the_blocks_and_the_patch_embedding_has_a_gain_of_one() -> None:
    side = network("fan_in").side
    layers = [layer for layer in [*side.blocks.modules(), side.patch_embed["proj"]] if hasattr(layer, "weight")]
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]

    gains = [float(weight.std()) * weight[0].numel() ** 0.5 for weight in weights]

    assert len(gains) == 1 + 4 * len(side.blocks)
    assert gains == pytest.approx([1.0] * len(gains), rel=0.08)


def test_head_positions_norms_and_fusion_start_as_in_the_paper() -> None:
    paper, ours = (network(init).state_dict() for init in ("fixed", "fan_in"))

    other = {name for name in paper if not torch.equal(paper[name], ours[name])}

    assert other == {
        name
        for name in paper
        if name.endswith("weight") and ("blocks" in name or "patch_embed" in name) and "norm" not in name
    }


def test_a_new_adapter_starts_as_another_network_does_and_leaves_its_own_as_it_is() -> None:
    model = network("fan_in")
    before = {name: value.clone() for name, value in model.state_dict().items()}

    torch.manual_seed(5)
    fusion, side = model.new_adapter()

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert fusion.state_dict().keys() == model.fusion.state_dict().keys()
    fresh, own = (part.state_dict()["blocks.0.mlp.fc1.weight"] for part in (side, model.side))
    assert not torch.equal(fresh, own)
    assert fresh.std().item() == pytest.approx(own.std().item(), rel=0.1)
