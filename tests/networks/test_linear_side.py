"""A member without a side network is a linear layer on the mean of its fused prompts, and a member like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_fpt.networks import FPTClassifier, FPTConfig, FPTLoss, LinearSide, SideViT

Make = Callable[..., Any]
METHODS = pytest.mark.parametrize("method", ["fpt_plus", "fpt"])


def test_it_is_a_linear_layer_on_the_normalised_mean_of_the_prompts_of_every_block() -> None:
    side = LinearSide(dim=6, num_blocks=2, num_classes=3, norm_eps=1e-6).double()
    with torch.no_grad():
        for parameter in side.parameters():
            parameter.normal_()
    prompts = torch.randn(4, 2, 5, 6, dtype=torch.float64)

    answer = side(torch.zeros(4, 3, 32, 32), prompts).detach().numpy()

    mean = prompts.numpy().mean(axis=2)
    normal = (mean - mean.mean(-1, keepdims=True)) / np.sqrt(mean.var(-1, keepdims=True) + 1e-6)
    scaled = normal * side.norm.weight.detach().numpy() + side.norm.bias.detach().numpy()
    head = (side.head.weight.detach().numpy(), side.head.bias.detach().numpy())
    np.testing.assert_allclose(answer, scaled.reshape(4, 12) @ head[0].T + head[1], atol=1e-12)


def test_the_last_members_are_the_linear_ones(tiny: Make) -> None:
    model: Any = FPTClassifier(tiny(members=3, linear_members=1))

    assert [type(member) for member in model.side.members] == [SideViT, SideViT, LinearSide]


def test_all_members_may_be_linear_and_one_alone_too(tiny: Make) -> None:
    several: Any = FPTClassifier(tiny(members=2, linear_members=2))
    one = FPTClassifier(tiny(members=1, linear_members=1))

    assert {type(member) for member in several.side.members} == {LinearSide}
    assert isinstance(one.side, LinearSide)
    assert several(torch.randn(2, 3, 64, 64)).shape == one(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_side_networks_start_as_they_would_without_a_linear_member_after_them(tiny: Make) -> None:
    torch.manual_seed(5)
    without: Any = FPTClassifier(tiny(members=2))
    torch.manual_seed(5)
    with_one: Any = FPTClassifier(tiny(members=3, linear_members=1))

    state = with_one.state_dict()
    assert all(torch.equal(state[name], value) for name, value in without.state_dict().items())


@METHODS
def test_the_answer_is_the_mean_of_the_logits_of_all_members(method: str, tiny: Make, loud: Make) -> None:
    model = loud(tiny(method=method, members=2, linear_members=1))
    image, state = torch.randn(2, 3, 64, 64), model.state_dict()
    answers = []
    for k in range(2):
        single = FPTClassifier(tiny(method=method, linear_members=k)).eval()
        own = {name.replace(f".members.{k}.", "."): value for name, value in state.items() if f".members.{k}." in name}
        assert single.load_state_dict(own | {"backbone_id": state["backbone_id"]}).missing_keys == []
        answers.append(single(image))

    assert (answers[0] - answers[1]).abs().max() > 1e-3
    torch.testing.assert_close(model(image), (answers[0] + answers[1]) / 2, atol=2e-5, rtol=1e-5)


def test_a_linear_member_looks_at_features_and_not_at_the_image(tiny: Make, loud: Make) -> None:
    model = loud(tiny(linear_members=1))
    features = torch.randn(2, *model.backbone.feature_shape)

    answer = model(torch.randn(2, 3, 32, 32), features)

    assert torch.equal(answer, model(torch.zeros(2, 3, 32, 32), features))
    assert (answer - model(torch.zeros(2, 3, 32, 32), features.flip(0))).abs().max() > 1e-3


@METHODS
def test_every_weight_of_a_linear_member_learns(method: str, tiny: Make) -> None:
    model = FPTClassifier(tiny(method=method, members=2, linear_members=1, dropout=0.0)).train()
    features = torch.randn(4, *model.backbone.feature_shape)

    FPTLoss()(model(torch.randn(4, 3, 32, 32), features), torch.tensor([0, 1, 2, 1])).backward()

    own = {name: p.grad for name, p in model.named_parameters() if ".members.1." in name}
    assert len(own) == {"fpt_plus": 9, "fpt": 9}[method]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in own.values())


def test_it_costs_its_prompts_a_projection_and_one_layer(tiny: Make) -> None:
    config: FPTConfig = tiny(linear_members=1)
    width, side, blocks, prompts = 192, 24, 1, 4  # the upper half of two blocks is one

    learnable, _ = FPTClassifier(config).num_parameters()

    fusion = blocks * prompts * width + 2 * width + width * side + side
    assert learnable == fusion + 2 * side + blocks * side * 3 + 3
