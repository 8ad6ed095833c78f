"""The network from its fusion attention on, written out: attention probabilities in, logits out.

The fusion module asks a fused kernel that keeps no probabilities. Here they are a tensor of their own, so that they can
be looked at, differentiated by, or taken away token by token. Everything behind them is the network's own modules; the
frozen backbone is not part of it, so nothing here ever passes through it, forwards or backwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_fpt.networks import CachedFeatures, FPTClassifier, Fusion, QuantizedFeatures

__all__ = ["dequantized", "fusion_attention", "logits_from_attention"]


def dequantized(features: CachedFeatures, dtype: torch.dtype) -> Tensor:
    """Features as plain numbers (B, L, 2, H, M, D) of ``dtype``."""
    if isinstance(features, QuantizedFeatures):
        return features.codes.to(dtype) * features.scales.to(dtype).unsqueeze(-2)
    return features.to(dtype)


def fusion_attention(model: FPTClassifier, features: Tensor, keep: Tensor | None = None) -> Tensor:
    """How each prompt spreads its attention over the tokens its head has kept.

    Args:
        model: of either method.
        features: (B, L, 2, H, M, D), see :func:`dequantized`.
        keep: (B, L, H, M) bool; attention is spread over these tokens only. None keeps all.

    Returns:
        (B, L, H, P, M), rows sum to 1; to 0 where ``keep`` leaves a head nothing.
    """
    queries = _queries(model).unflatten(-1, (model.fusion.num_heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
    scores: Tensor = queries @ features[:, :, 0].mT / math.sqrt(features.shape[-1])
    if keep is None:
        return scores.softmax(dim=-1)
    mask = keep.unsqueeze(-2)
    kept = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)  # NaN in a head that is left nothing
    return kept.masked_fill(~mask, 0.0)


def logits_from_attention(model: FPTClassifier, attention: Tensor, features: Tensor, side_image: Tensor) -> Tensor:
    """Logits (B, K) of the network whose prompts attend as ``attention`` (B, L, H, P, M) says, without dropout.

    Args:
        model: of either method.
        attention: any weights, not only probabilities.
        features: (B, L, 2, H, M, D), see :func:`dequantized`.
        side_image: (B, 3, side_size, side_size).
    """
    attended = (attention @ features[:, :, 1]).transpose(2, 3).flatten(-2)  # (B, L, P, C)
    logits: Tensor = model.side(side_image, model.fusion.fuse(attended))
    return logits


def _queries(model: FPTClassifier) -> Tensor:
    """(L, P, C); of a network of several members the prompts of all of them."""
    if not isinstance(model.fusion, Fusion):
        raise TypeError(
            f"The fusion module is a {type(model.fusion).__name__}, whose attention is not known here; give an FPTClassifier "
            f'of method "fpt_plus" or "fpt".'
        )
    return model.fusion.queries()
