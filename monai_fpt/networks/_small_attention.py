"""Attention of narrow heads, as the side network has them: 8 channels a head, some tens of tokens.

The fused kernel of CPUs is made for wide heads and long sequences: here its backward pass takes more than twice the time
of plain products that are asked for the right way round, with tokens and not channels as the columns of the result.
The probabilities are kept for the backward pass; who lacks the memory recomputes the whole block. Accelerators, compilers
and exporters get the fused kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_fpt.networks._recording import is_recorded

__all__ = ["narrow_attention"]

_PIECE = 2**18  # probabilities at a time, which stay in a processor's cache


def narrow_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of (B, H, N, D) queries and (B, H, M, D) keys and values -> (B, H, N, D)."""
    elsewhere = query.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if elsewhere or is_recorded():
        return F.scaled_dot_product_attention(query, key, value)
    attended: Tensor = _Attention.apply(query, key, value)[0]  # type: ignore[no-untyped-call]
    return attended


class _Attention(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        outputs, kept = [], []
        for piece in _pieces(query, key):
            probabilities = torch.bmm(_scaled(query[piece]), key[piece].flatten(0, 1).mT).softmax(dim=-1)
            outputs.append(torch.bmm(value[piece].flatten(0, 1).mT, probabilities.mT))  # (b * H, D, N)
            kept.append(probabilities)
        return _heads(outputs, query), *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *kept = ctx.saved_tensors
        gradients: tuple[list[Tensor], ...] = ([], [], [])
        for probabilities, piece in zip(kept, _pieces(query, key), strict=True):
            given = gradient[piece].flatten(0, 1).mT  # (b * H, D, N)
            weighted = torch.bmm(given.mT, value[piece].flatten(0, 1).mT)
            of_scores = torch.ops.aten._softmax_backward_data(weighted, probabilities, -1, probabilities.dtype)
            gradients[0].append(torch.bmm(key[piece].flatten(0, 1).mT, of_scores.mT) * query.shape[-1] ** -0.5)
            gradients[1].append(torch.bmm(_scaled(query[piece]).mT, of_scores))
            gradients[2].append(torch.bmm(given, probabilities))
        of_query, of_key, of_value = gradients
        return _heads(of_query, query), _heads(of_key, key), _heads(of_value, value)


def _heads(pieces: list[Tensor], like: Tensor) -> Tensor:
    """Pieces (b * H, D, N) -> (B, H, N, D), a view."""
    heads: Tensor = torch.cat(pieces).view(*like.shape[:2], like.shape[3], like.shape[2]).mT
    return heads


def _scaled(query: Tensor) -> Tensor:
    scaled: Tensor = query.flatten(0, 1) * query.shape[-1] ** -0.5
    return scaled


def _pieces(query: Tensor, key: Tensor) -> list[slice]:
    step = max(1, _PIECE // (query.shape[1] * query.shape[2] * key.shape[2]))
    return [slice(start, start + step) for start in range(0, len(query), step)]
