"""A member without a side network is a linear layer on what one prompt a block was answered, and a member like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_fpt.networks import FPTClassifier, FPTLoss, LinearSide, SideViT

Make = Callable[..., Any]
METHODS = pytest.mark.parametrize("method", ["fpt_plus", "fpt"])


@METHODS
@pytest.mark.parametrize("reduction", [8, 4, 21], ids=["in whole rows", "in wide rows", "with a row filled up"])
def test_it_is_a_linear_layer_on_the_normalised_answers_of_attention_with_one_query_a_block(
    method: str, reduction: int, tiny: Make, loud: Make
) -> None:
    model = loud(tiny(method=method, linear_members=1, blocks=(0, 1), side_reduction=reduction)).double()
    features = torch.randn(5, *model.backbone.feature_shape, dtype=torch.float64)

    answer = model(torch.zeros(5, 3, 32, 32, dtype=torch.float64), features).detach().numpy()

    state = {name: value.numpy() for name, value in model.state_dict().items() if name != "backbone_id"}
    query = _normal(state["fusion.prompts"][:, 0], 1e-5) * state["fusion.norm.weight"] + state["fusion.norm.bias"]
    keys, values = (features[:, :, k].numpy() for k in (0, 1))  # (B, L, H, M, D)
    scores = np.einsum("lhd,blhmd->blhm", query.reshape(2, 3, 64), keys) / 8
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    read = _normal(np.einsum("blhm,blhmd->blhd", shares, values).reshape(5, 2, 192), 1e-5)
    weight = state["side.head.weight"].reshape(3, 2, -1)[:, :, :192]  # what is behind belongs to zeros
    np.testing.assert_allclose(answer, np.einsum("blc,klc->bk", read, weight) + state["side.head.bias"], atol=1e-10)


def _normal(values: Any, eps: float) -> Any:
    return (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + eps)


def test_it_starts_with_no_opinion(tiny: Make) -> None:
    model = FPTClassifier(tiny(linear_members=1)).eval()

    assert not model(torch.randn(2, 3, 64, 64)).any()


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
    model: Any = FPTClassifier(tiny(method=method, members=2, linear_members=1, dropout=0.0)).train()
    torch.nn.init.normal_(model.side.members[1].head.weight)  # zeros give no gradient to the prompt
    features = torch.randn(4, *model.backbone.feature_shape)

    FPTLoss()(model(torch.randn(4, 3, 32, 32), features), torch.tensor([0, 1, 2, 1])).backward()

    own = {name: p.grad for name, p in model.named_parameters() if ".members.1." in name}
    assert sorted(name.replace(".members.1", "") for name in own) == [
        *("fusion.norm.bias", "fusion.norm.weight", "fusion.prompts", "side.head.bias", "side.head.weight"),
    ]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in own.values())


def test_it_costs_one_prompt_a_block_a_norm_and_one_layer(tiny: Make) -> None:
    learnable, _ = FPTClassifier(tiny(linear_members=1, depth=4)).num_parameters()

    width, blocks, classes = 192, 2, 3
    assert learnable == blocks * width + 2 * width + blocks * width * classes + classes
