"""The written-out path is the network: the same logits, and attention that is attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_fpt.features import quantize
from monai_fpt.networks import QuantizedFeatures
from monai_fpt.visualize import attention_maps
from monai_fpt.visualize.explicit import dequantized, fusion_attention, logits_from_attention

METHODS = ["fpt_plus", "fpt"]


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.int8], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_the_written_out_path_gives_the_model_s_logits(
    method: str, stored: torch.dtype, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method, side_size=48)
    side_image, kept = seen(model)
    features = QuantizedFeatures(*quantize(kept.features)) if stored == torch.int8 else kept.features.to(stored)
    plain = dequantized(features, torch.float32)

    written_out = logits_from_attention(model, fusion_attention(model, plain), plain, side_image)

    own = model(side_image, features).detach()
    assert own.abs().max() > 0.1
    torch.testing.assert_close(written_out, own, rtol=1e-6, atol=1e-6 * float(own.abs().max()))


@pytest.mark.parametrize("method", METHODS)
def test_the_written_out_path_gives_the_model_s_logits_in_float64(
    method: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method).double()
    side_image, features = torch.randn(2, 3, 32, 32).double(), torch.randn(2, *model.backbone.feature_shape).double()

    written_out = logits_from_attention(model, fusion_attention(model, features), features, side_image)

    torch.testing.assert_close(written_out, model(side_image, features), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_attention_is_the_softmax_of_each_prompt_over_the_keys_of_its_block_and_head(
    method: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method)
    _, kept = seen(model)

    attention = fusion_attention(model, kept.features).detach()

    assert attention.shape == (3, len(model.backbone.blocks), 3, 4, 6)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    fusion = model.fusion
    asked = fusion.norm(fusion.prompts) if method == "fpt_plus" else fusion.query(fusion.prompts)
    image, block, head, prompt = 2, 1, 1, 3
    scores = [float(asked[block, prompt, 64:128] @ key) / math.sqrt(64) for key in kept.features[image, block, 0, head]]
    weights = torch.tensor([math.exp(score) for score in scores])
    torch.testing.assert_close(attention[image, block, head, prompt], weights / weights.sum())


@pytest.mark.parametrize("method", METHODS)
def test_tokens_left_out_are_as_if_they_were_not_in_the_cache(
    method: str, network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(method=method)
    side_image, kept = seen(model)
    keep = torch.zeros(kept.indices.shape, dtype=torch.bool)
    keep[..., [0, 2, 5]] = True

    masked = logits_from_attention(model, fusion_attention(model, kept.features, keep), kept.features, side_image)

    torch.testing.assert_close(masked, model(side_image, kept.features[..., [0, 2, 5], :]), rtol=1e-5, atol=1e-5)


def test_a_head_that_is_left_nothing_attends_to_nothing(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    _, kept = seen(model)
    keep = torch.ones(kept.indices.shape, dtype=torch.bool)
    keep[0, 1, 2] = False

    sums = fusion_attention(model, kept.features, keep).sum(-1)

    expected = torch.ones(sums.shape)
    expected[0, 1, 2] = 0
    torch.testing.assert_close(sums.detach(), expected)


def test_a_network_that_computes_otherwise_gets_no_map(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)
    forward = model.fusion.forward

    def other(features: Tensor) -> Tensor:
        fused: Tensor = forward(features).flip(-1)
        return fused

    model.fusion.forward = other

    with pytest.raises(RuntimeError, match=r"differ by .* from the model's own"):
        attention_maps(model, kept.features, kept.indices, side_image)
