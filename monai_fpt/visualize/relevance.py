"""How much an attention weight speaks for a class: functions of one shape, to be given to ``attention_maps``.

Each takes the scores as a function of the attention, and the attention, and gives a number per class and weight.
Decisions, measured by ``benchmarks/faithfulness.py`` (docs/visualize.md):

- Attention alone says where prompts look, for whatever class; the gradient says what of it was used, and for which.
- The gradient at the attention as it is misses what is saturated: a token whose evidence is plentiful changes nothing at
  the margin. Averaged on the way from no attention to the attention as it is (integrated gradients, Sundararajan et al.
  2017), it does not, and the relevances of all tokens add up to the score's rise over prompts that see nothing.
- The points of that integral lie dense near no attention, where a linear member, which normalises what it is answered, rises at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "AttentionScores",
    "Relevance",
    "attention_alone",
    "gradient_attention",
    "integrated_gradient_attention",
]

AttentionScores = Callable[[Tensor], Tensor]
"""Attention (B, L, H, P, M) -> scores (B, T) of T classes."""

Relevance = Callable[[AttentionScores, Tensor], Tensor]
"""Scores as a function of the attention, and the attention (B, L, H, P, M) -> relevance (B, T, L, H, P, M)."""

_STEPS = 16
_POWER = 4


def attention_alone(scores: AttentionScores, attention: Tensor) -> Tensor:
    """The attention itself, the same for every class."""
    with torch.no_grad():
        classes = scores(attention).shape[1]
    return attention.unsqueeze(1).expand(-1, classes, *attention.shape[1:])


def gradient_attention(scores: AttentionScores, attention: Tensor) -> Tensor:
    """Gradient of the score times attention, where it is positive (Chefer et al. 2021, for one layer)."""
    return (_gradients(scores, attention) * attention.unsqueeze(1)).relu()


def integrated_gradient_attention(scores: AttentionScores, attention: Tensor) -> Tensor:
    """Mean gradient of the score on the straight way from no attention to this one, times attention; signed.

    The sum over all weights is the score less the score of prompts that see nothing, up to the 16 points (Gauss-Legendre in the fourth
    root of the way) of the integral.
    """
    total = torch.zeros((), device=attention.device, dtype=attention.dtype)
    for share, weight in _points():
        total = total + _gradients(scores, attention * share) * weight
    return total * attention.unsqueeze(1)


def _points() -> list[tuple[float, float]]:
    """Shares of the way from 0 to 1, and weights, which add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(_STEPS)
    roots = (nodes + 1) / 2  # share = root ** 4
    shares, steps = roots**_POWER, weights / 2 * _POWER * roots ** (_POWER - 1)
    return list(zip(shares.tolist(), steps.tolist(), strict=True))


def _gradients(scores: AttentionScores, attention: Tensor) -> Tensor:
    """(B, T, L, H, P, M): one backward pass a class, for images do not see each other."""
    point = attention.detach().requires_grad_()
    values = scores(point)
    columns = values.sum(dim=0).unbind()
    gradients = [torch.autograd.grad(column, point, retain_graph=True)[0] for column in columns]
    return torch.stack(gradients, dim=1)
