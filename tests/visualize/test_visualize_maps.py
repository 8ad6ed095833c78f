"""Maps of a class: what they show, what they refuse, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from monai_fpt.features import quantize
from monai_fpt.networks import QuantizedFeatures
from monai_fpt.visualize import (
    FPTAttention,
    attention_alone,
    attention_maps,
    gradient_attention,
    image_attention_maps,
    integrated_gradient_attention,
)
from monai_fpt.visualize.explicit import logits_from_attention

RELEVANCES = {f.__name__: f for f in (integrated_gradient_attention, gradient_attention, attention_alone)}


def by_hand(relevance: torch.Tensor, indices: torch.Tensor) -> FPTAttention:
    """A result with given relevance (B, T, L, H, P, M) on a grid of 2 x 2 behind one prefix token."""
    batch, classes = relevance.shape[:2]
    return FPTAttention(
        logits=torch.zeros(batch, classes),
        targets=torch.arange(classes).expand(batch, classes),
        attention=torch.zeros(relevance[:, 0].shape),
        relevance=relevance,
        indices=indices,
        num_prefix=1,
        grid=(2, 2),
        blocks=tuple(range(relevance.shape[2])),
    )


@pytest.fixture
def small() -> FPTAttention:
    """1 image, 1 class, 2 blocks, 1 head, 2 prompts, 2 tokens: block 0 keeps tokens 4 and 0 (prefix), block 1 tokens 2 and 4."""
    relevance = torch.tensor([[[[[[3.0, 1.0], [1.0, 1.0]]], [[[-2.0, 1.0], [0.0, 5.0]]]]]])
    return by_hand(relevance, torch.tensor([[[[4, 0]], [[2, 4]]]]))


def test_relevance_is_added_up_over_heads_prompts_and_blocks_where_the_token_lies(small: FPTAttention) -> None:
    assert small.evidence().tolist() == [[[[0.0, -2.0], [0.0, 10.0]]]]
    assert small.heat().tolist() == [[[[0.0, 0.0], [0.0, 1.0]]]]


def test_blocks_and_prompts_have_maps_of_their_own_on_one_scale(small: FPTAttention) -> None:
    per_block, per_prompt = small.heat_per_block()[0, 0], small.heat_per_prompt()[0, 0]

    torch.testing.assert_close(per_block[:, 1, 1], torch.tensor([4 / 6, 1.0]))
    assert per_block[:, 0].abs().max() == 0
    torch.testing.assert_close(per_prompt[:, 1, 1], torch.tensor([4 / 6, 1.0]))
    assert per_prompt[0].tolist() == [[0.0, 0.0], [0.0, pytest.approx(4 / 6)]]


def test_what_lies_on_prefix_tokens_is_told_and_not_drawn(small: FPTAttention) -> None:
    assert small.prefix_share().tolist() == [[pytest.approx(2 / 14)]]  # |2| of 4 + 2 and |-2| + 6


def test_tokens_are_counted_by_the_heads_that_kept_them(small: FPTAttention) -> None:
    assert small.located().tolist() == [[[0, 1], [0, 2]]]


def test_a_class_that_nothing_speaks_for_has_an_empty_map(small: FPTAttention) -> None:
    nothing = by_hand(-small.relevance.abs(), small.indices)

    assert nothing.heat().abs().max() == 0
    assert nothing.heat_per_block().abs().max() == 0


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
@pytest.mark.parametrize("relevance", [integrated_gradient_attention, gradient_attention], ids=lambda f: f.__name__)
def test_only_the_token_that_carries_something_is_hot(
    method: str, relevance: Any, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method)
    side_image, kept = seen(model, batch=1)
    token = int(kept.indices[0, 0, 0][kept.indices[0, 0, 0] > 0][0])
    features = kept.features.clone()
    features[:, :, 1] *= (kept.indices == token).unsqueeze(-1)  # the values of all others are nothing

    maps = attention_maps(model, features, kept.indices, side_image, relevance=relevance)

    row, column = divmod(token - 1, 4)
    elsewhere = maps.evidence().clone()
    elsewhere[..., row, column] = 0
    assert elsewhere.abs().max() == 0
    assert maps.evidence()[..., row, column].abs().min() > 0


@pytest.mark.parametrize(
    "members",
    [{}, {"linear_members": 1}, {"members": 5, "linear_members": 4}],
    ids=["one", "a linear one", "as stable"],
)
def test_integrated_relevance_adds_up_to_what_the_prompts_saw(
    members: dict[str, int], network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    """A linear member normalises what it is answered: its score rises at the very beginning of the way from no attention."""
    model = network(**members).double()
    side_image, kept = seen(network(**members))
    side_image, features = side_image.double(), kept.features.double()

    maps = attention_maps(model, features, kept.indices, side_image)

    with torch.no_grad():
        blind = logits_from_attention(model, torch.zeros_like(maps.attention), features, side_image)
    risen = maps.logits - blind
    assert risen.abs().mean() > 0.1
    torch.testing.assert_close(maps.relevance.sum((2, 3, 4, 5)), risen, rtol=0.02, atol=0.01)


def test_gradient_relevance_is_the_slope_of_the_logit(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network().double()
    side_image, kept = seen(network(), batch=2)
    side_image, features = side_image.double(), kept.features.double()
    maps = attention_maps(model, features, kept.indices, side_image, target=1, relevance=gradient_attention)
    place = (1, *torch.unravel_index(maps.relevance[1, 0].argmax(), maps.relevance.shape[2:]))

    step = torch.zeros_like(maps.attention)
    step[place] = 1e-6
    with torch.no_grad():
        up, down = (
            logits_from_attention(model, maps.attention + sign * step, features, side_image)[1, 1] for sign in (1, -1)
        )

    slope = (up - down) / 2e-6
    torch.testing.assert_close(maps.relevance[:, 0][place], slope * maps.attention[place], rtol=1e-5, atol=1e-9)
    assert maps.relevance.min() >= 0


def test_attention_alone_is_the_same_for_every_class(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)

    maps = attention_maps(model, kept.features, kept.indices, side_image, relevance=attention_alone)

    for number in range(3):
        torch.testing.assert_close(maps.relevance[:, number], maps.attention)


@pytest.mark.parametrize("relevance", RELEVANCES.values(), ids=RELEVANCES.keys())
def test_a_target_gives_the_map_of_its_class(
    relevance: Any, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network()
    side_image, kept = seen(model)
    given = (model, kept.features, kept.indices, side_image)
    every = attention_maps(*given, relevance=relevance)
    assert every.targets.tolist() == [[0, 1, 2]] * 3

    chosen = torch.tensor([2, 0, 1])
    for target, classes in ((1, [1, 1, 1]), (chosen, [2, 0, 1]), ("predicted", every.logits.argmax(1).tolist())):
        one = attention_maps(*given, target=target, relevance=relevance)
        assert one.targets.flatten().tolist() == classes
        expected = every.evidence()[torch.arange(3), classes]
        torch.testing.assert_close(one.evidence()[:, 0], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_one_image_is_a_batch_of_one_and_images_do_not_see_each_other(
    network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network()
    side_image, kept = seen(model)
    batch = attention_maps(model, kept.features, kept.indices, side_image).evidence()

    one = attention_maps(model, kept.features[1], kept.indices[1], side_image[1]).evidence()

    assert one.shape == (1, 3, 4, 4)
    torch.testing.assert_close(one[0], batch[1], rtol=1e-4, atol=1e-5 * float(batch.abs().max()))


def test_int8_features_give_the_map_of_their_numbers(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)
    codes, scales = quantize(kept.features)
    numbers = codes.float() * scales.float().unsqueeze(-2)

    quantised = attention_maps(model, QuantizedFeatures(codes, scales), kept.indices, side_image).evidence()
    single = attention_maps(model, QuantizedFeatures(codes[0], scales[0]), kept.indices[0], side_image[0]).evidence()

    expected = attention_maps(model, numbers, kept.indices, side_image).evidence()
    close = {"rtol": 1e-4, "atol": 1e-5 * float(expected.abs().max())}
    torch.testing.assert_close(quantised, expected, **close)
    torch.testing.assert_close(single, expected[:1], **close)


def test_an_image_that_is_in_no_cache_gives_the_same_map(network: Callable[..., Any]) -> None:
    model = network()
    images = torch.randn(2, 3, 64, 64)
    kept = model.backbone(images)
    expected = attention_maps(model, kept.features, kept.indices, model.reduce_image(images)).heat()

    torch.testing.assert_close(image_attention_maps(model, images).heat(), expected)
    torch.testing.assert_close(image_attention_maps(model, images[1]).heat()[0], expected[1], rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(image_attention_maps(model, images).heat(), expected)


def test_the_backbone_is_not_asked_for_a_map_from_the_cache(
    network: Callable[..., Any], seen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    side_image, kept = seen(model)

    def refuse(*_: Any) -> None:
        raise AssertionError("the backbone was asked")

    monkeypatch.setattr(model.backbone, "forward", refuse)
    monkeypatch.setattr(model.backbone.vit, "forward_features", refuse)

    assert attention_maps(model, kept.features, kept.indices, side_image).heat().max() == 1


def test_a_map_leaves_no_trace_in_a_network_that_is_being_trained(
    network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network()
    side_image, kept = seen(model)
    expected = attention_maps(model, kept.features, kept.indices, side_image).evidence()
    model.train()

    with torch.no_grad():
        maps = attention_maps(model, kept.features, kept.indices, side_image)

    torch.testing.assert_close(maps.evidence(), expected)  # so dropout was off
    assert model.training and model.fusion.dropout.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not maps.relevance.requires_grad


def test_frozen_networks_have_maps(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network().requires_grad_(False)
    side_image, kept = seen(model)

    assert attention_maps(model, kept.features, kept.indices, side_image).heat().max() == 1


@pytest.mark.parametrize("prefix_tokens", ["keep", "drop"])
def test_kept_prefix_tokens_have_a_share_and_dropped_ones_none(
    prefix_tokens: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(prefix_tokens=prefix_tokens)
    side_image, kept = seen(model)

    maps = attention_maps(model, kept.features, kept.indices, side_image)

    heads = len(model.backbone.blocks) * 3
    patches = 6 * heads - (heads if prefix_tokens == "keep" else 0)
    assert maps.located().sum((1, 2)).tolist() == [patches] * 3
    assert bool((maps.prefix_share() > 0).all()) == (prefix_tokens == "keep")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "target=3 is not among the model's classes 0 to 2"),
        (torch.tensor([0, -1, 0]), "is not among the model's classes"),
        (torch.tensor([0, 1]), r"target of shape \(2,\) does not name one class for each of 3 images"),
        ("best", "target='best' is not \"predicted\""),
    ],
    ids=["too high", "negative", "too few", "another word"],
)
def test_a_class_the_model_has_not_is_refused(
    target: Any, message: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network()
    side_image, kept = seen(model)

    with pytest.raises(ValueError, match=message):
        attention_maps(model, kept.features, kept.indices, side_image, target=target)


def test_indices_of_other_features_are_refused(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)

    with pytest.raises(ValueError, match="do not belong to these features"):
        attention_maps(model, kept.features, kept.indices[..., :-1], side_image)
    with pytest.raises(ValueError, match="the backbone has tokens 0 to 16 at image_size=64"):
        attention_maps(model, kept.features, kept.indices + 10, side_image)
    with pytest.raises(ValueError, match="do not belong to 3 images and this network"):
        attention_maps(model, kept.features[:, :1], kept.indices[:, :1], side_image)


def test_a_network_of_several_members_has_the_prompts_of_all_in_one_map(network: Callable[..., Any]) -> None:
    model = network(members=2, linear_members=1)
    image = torch.randn(1, 3, 64, 64)

    found = image_attention_maps(model, image)

    assert found.attention.shape[3] == model.config.num_prompts + 1  # a linear member has one
    torch.testing.assert_close(found.logits, model(image), atol=1e-5, rtol=1e-5)
    assert found.heat().amax(dim=(2, 3)).eq(1).all()
