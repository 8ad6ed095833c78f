"""A network of several members is several networks: each learns as it would alone, and their answer is the mean of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from monai_fpt.networks import FPTClassifier, FPTConfig, FPTLoss

Make = Callable[..., Any]
METHODS = pytest.mark.parametrize("method", ["fpt_plus", "fpt"])


def alone(model: FPTClassifier, config: FPTConfig) -> list[FPTClassifier]:
    """Every member of a network as a network of its own, by renaming its weights."""
    state = model.state_dict()
    found = []
    for k in range(model.config.members):
        single = FPTClassifier(config).eval()
        own = {name.replace(f".members.{k}.", "."): value for name, value in state.items() if f".members.{k}." in name}
        assert single.load_state_dict(own | {"backbone_id": state["backbone_id"]}).missing_keys == []
        found.append(single)
    return found


@METHODS
def test_the_answer_is_the_mean_of_the_members_logits(method: str, tiny: Make, loud: Make) -> None:
    model = loud(tiny(method=method, members=3))
    image = torch.randn(2, 3, 64, 64)

    expected = torch.stack([single(image) for single in alone(model, tiny(method=method))])

    assert expected.std(dim=0).min() > 1e-3  # members differ
    torch.testing.assert_close(model(image), expected.mean(dim=0), atol=2e-5, rtol=1e-5)


@METHODS
def test_each_member_gets_the_gradients_that_it_has_alone_on_its_part_of_the_batch(
    method: str, tiny: Make, loud: Make
) -> None:
    model = loud(tiny(method=method, members=2, dropout=0.0)).double()
    singles = [single.double().train() for single in alone(model, tiny(method=method, dropout=0.0))]
    features = torch.randn(4, *model.backbone.feature_shape, dtype=torch.float64)
    image, labels, loss = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 1]), FPTLoss()

    loss(model.train()(image, features), labels).backward()
    for single, own in zip(singles, ([0, 1], [2, 3]), strict=True):
        loss(single(image[own], features[own]), labels[own]).backward()

    joined = dict(model.named_parameters())
    for k, single in enumerate(singles):
        for name, parameter in single.named_parameters():
            if parameter.requires_grad:
                part, rest = name.split(".", 1)
                theirs = joined[f"{part}.members.{k}.{rest}"].grad
                assert theirs is not None and parameter.grad is not None
                torch.testing.assert_close(theirs * 2, parameter.grad, atol=1e-12, rtol=1e-8)


def test_in_training_each_member_answers_for_its_part_of_the_batch_as_even_as_it_can_be(tiny: Make, loud: Make) -> None:
    model = loud(tiny(members=3, dropout=0.0))
    image, features = torch.randn(7, 3, 32, 32), torch.randn(7, *model.backbone.feature_shape)
    each = torch.stack([single(image, features) for single in alone(model, tiny(dropout=0.0))])

    answer = model.train()(image, features)

    expected = torch.stack([each[k, row] for row, k in enumerate([0, 0, 0, 1, 1, 2, 2])])
    torch.testing.assert_close(answer, expected, atol=2e-5, rtol=1e-5)


def test_a_batch_of_fewer_images_than_members_trains_those_that_get_one(tiny: Make, loud: Make) -> None:
    model = loud(tiny(members=3, dropout=0.0)).train()
    image, features = torch.randn(2, 3, 32, 32), torch.randn(2, *model.backbone.feature_shape)

    FPTLoss()(model(image, features), torch.tensor([0, 1])).backward()

    assert [member.head.weight.grad is not None for member in model.side.members] == [True, True, False]


def test_one_member_is_the_network_it_has_always_been(tiny: Make) -> None:
    model = FPTClassifier(tiny()).train()

    assert not [name for name in model.state_dict() if "members" in name]
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_the_first_member_starts_as_the_only_one_would_and_the_others_do_not(tiny: Make) -> None:
    torch.manual_seed(5)
    single = FPTClassifier(tiny())
    torch.manual_seed(5)
    several: Any = FPTClassifier(tiny(members=2))

    first, second = several.side.members
    assert torch.equal(first.head.weight, single.side.head.weight)  # type: ignore[union-attr, arg-type]
    assert torch.equal(several.fusion.members[0].prompts, single.fusion.prompts)
    assert not torch.equal(second.head.weight, first.head.weight)


def test_members_cost_their_number_of_learnable_weights(tiny: Make) -> None:
    one, three = (FPTClassifier(tiny(members=k)).num_parameters() for k in (1, 3))

    assert three == (3 * one[0], one[1])


@METHODS
def test_recomputing_and_int8_features_work_with_members(method: str, tiny: Make, loud: Make) -> None:
    from monai_fpt.features import quantize

    kept, again = (loud(tiny(method=method, members=2, dropout=0.0, recompute=r)).train() for r in (False, True))
    again.load_state_dict(kept.state_dict())
    features = quantize(torch.randn(2, *kept.backbone.feature_shape))
    image = torch.randn(2, 3, 32, 32)

    for model in (kept, again):
        FPTLoss()(model(image, features), torch.tensor([0, 1])).backward()

    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_a_network_of_several_members_becomes_torchscript(tiny: Make, loud: Make) -> None:
    model = loud(tiny(members=2))
    image = torch.randn(3, 3, 64, 64)

    torch.testing.assert_close(torch.jit.script(model)(image), model(image), atol=1e-5, rtol=1e-5)  # type: ignore[no-untyped-call]
