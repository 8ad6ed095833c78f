"""Attention written out head by head: the fused kernel's numbers, in the precision of the products, whatever the layout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_fpt.networks import FrozenViT
from monai_fpt.networks import importance as importance_module
from monai_fpt.networks.importance import attend, attend_and_weigh, weigh

B, H, N, D = 2, 3, 37, 8
SCALE = 0.3


def of_one_layer(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value as a timm attention hands them on: views of one product."""
    q, k, v = torch.randn(B, N, 3, H, D).to(dtype).permute(2, 0, 3, 1, 4)
    return q, k, v


@pytest.mark.parametrize("masked", ["no mask", "additive", "boolean"])
@pytest.mark.parametrize("entries", [N * 64, N * 7], ids=["one piece", "pieces and a rest"])
def test_in_bfloat16_the_output_is_that_of_the_fused_kernel(
    masked: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance_module, "_CHUNK_ENTRIES", {"cpu": entries})
    monkeypatch.setattr(importance_module, "_LEAST_QUERIES", 1)
    q, k, v = of_one_layer(torch.bfloat16)
    mask = {
        "no mask": None,
        "additive": torch.randn(1, H, N, N),
        "boolean": (torch.rand(B, 1, N, N) < 0.7) | torch.eye(N, dtype=torch.bool),
    }[masked]
    exact_mask = mask.double() if masked == "additive" and mask is not None else mask
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), exact_mask, scale=SCALE)

    alone, (with_importance, importance) = attend(q, k, v, mask, SCALE), attend_and_weigh(q, k, v, mask, SCALE)

    assert alone.dtype == with_importance.dtype == torch.bfloat16
    assert torch.equal(alone, with_importance)
    torch.testing.assert_close(alone.double(), exact, rtol=0.02, atol=0.02)
    assert torch.equal(importance, weigh(q, k, mask, SCALE, "global"))


def test_autocast_decides_the_precision_of_the_products_and_not_what_a_norm_left() -> None:
    q, k, v = of_one_layer(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, importance = attend_and_weigh(q, k, v.bfloat16(), None, SCALE)
        alone = attend(q, k, v.bfloat16(), None, SCALE)

    expected = attend_and_weigh(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, SCALE)
    assert torch.equal(output, expected[0])
    assert torch.equal(alone, expected[0])
    assert torch.equal(importance, expected[1])
    assert importance.dtype == torch.float32


@pytest.mark.parametrize(("queries", "step"), [(1025, 255), (1025, 4096), (5, 64), (130, 64), (1, 1)])
def test_no_small_rest_of_queries_is_left(queries: int, step: int) -> None:
    even = importance_module._even(queries, step)

    rest = queries % even or even
    assert even <= 1.5 * step
    assert rest > even / 2


@pytest.mark.parametrize("blocks", [(1,), (2,), (0, 1, 2)], ids=str)
def test_bfloat16_keeps_nearly_the_tokens_of_single_precision(blocks: tuple[int, ...]) -> None:
    vit = FrozenViT(
        "vit_tiny_patch16_224",
        weights=None,
        image_size=128,
        blocks=blocks,
        token_ratio=0.5,
        create_kwargs={"depth": 3},
    )
    image = torch.randn(2, 3, 128, 128)
    exact = vit(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = vit(image)

    kept = [torch.zeros(*e.indices.shape[:-1], 65).scatter(-1, e.indices, 1.0) for e in (exact, rounded)]
    assert (kept[0] * kept[1]).sum() > 0.95 * kept[0].sum()
