"""Is a map true? Two questions that need no opinion.

- *Does the model depend on what the map shows?* Tokens are taken out of the cache, strongest first (deletion), or are the
  only ones left in it (insertion), and the probability of the class is followed (Petsiuk et al. 2018). A token that is
  taken out is taken from every head and block that kept it; prompts spread their attention over the rest. No pixels are
  painted over, so nothing outside the distribution reaches the backbone; prefix tokens stay throughout.
- *Is it where the sign is?* Where the place is known: does the strongest token lie on it (pointing game, Zhang et al.
  2018), and how much of the heat does (energy pointing game, Wang et al. 2020)?

The side network still sees its small image: a class that is told by it stays told. Curves are compared with those of
another map, or of a random one, never read alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from monai_fpt.networks import CachedFeatures, FPTClassifier
from monai_fpt.visualize.explicit import dequantized, fusion_attention, logits_from_attention
from monai_fpt.visualize.grid import resize_heat, scatter_to_grid

__all__ = ["curve_area", "deletion_curve", "heat_inside", "insertion_curve", "pointing_game"]

_STEPS = 20


def deletion_curve(
    model: FPTClassifier,
    features: CachedFeatures,
    indices: Tensor,
    side_image: Tensor,
    heat: Tensor,
    target: Tensor,
    steps: int = _STEPS,
    multilabel: bool = False,
) -> Tensor:
    """Probability of the class while the located tokens are taken away, strongest first. A low curve is a good map.

    Args:
        model: in eval mode.
        features: (B, L, 2, H, M, D) or :class:`~monai_fpt.networks.QuantizedFeatures`.
        indices: (B, L, H, M).
        side_image: (B, 3, side_size, side_size), normalised.
        heat: (B, rows, columns), any scale, signed or not; equal values are taken in the order of rows.
        target: (B,) classes.
        steps: the curve has one value more, from nothing taken to all located tokens.
        multilabel: probabilities by sigmoid instead of softmax.

    Returns:
        (B, steps + 1).
    """
    rank, located = _ranks(model, indices, heat)
    return _curve(
        model, features, side_image, target, steps, multilabel, lambda share: (rank < 0) | (rank >= share * located)
    )


def insertion_curve(
    model: FPTClassifier,
    features: CachedFeatures,
    indices: Tensor,
    side_image: Tensor,
    heat: Tensor,
    target: Tensor,
    steps: int = _STEPS,
    multilabel: bool = False,
) -> Tensor:
    """Probability of the class while located tokens are put in, strongest first. A high curve is a good map.

    Arguments and result as of :func:`deletion_curve`; the curve runs from no token to all.
    """
    rank, located = _ranks(model, indices, heat)
    return _curve(model, features, side_image, target, steps, multilabel, lambda share: rank < share * located)


def curve_area(curve: Tensor) -> Tensor:
    """Area (B) under curves (B, S + 1) over [0, 1], by trapezoids."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[-1] - 1), dim=-1)


def pointing_game(heat: Tensor, truth: Tensor) -> Tensor:
    """Whether the centre of the strongest token lies on the sign.

    Args:
        heat: (B, rows, columns).
        truth: (B, H, W) bool, on the pixels of the image.

    Returns:
        (B,) bool; False where a map is 0 everywhere, for it points nowhere.
    """
    rows, columns = heat.shape[-2:]
    strongest, place = heat.flatten(1).max(dim=1)
    row = ((place // columns + 0.5) * truth.shape[1] / rows).long()
    column = ((place % columns + 0.5) * truth.shape[2] / columns).long()
    hit: Tensor = truth[torch.arange(len(heat), device=heat.device), row, column] & (strongest > 0)
    return hit


def heat_inside(heat: Tensor, truth: Tensor) -> Tensor:
    """Which share (B) of the heat (B, rows, columns), negative values left out, lies on the sign (B, H, W); 0 for a map
    of nothing.
    """
    spread = resize_heat(heat.clamp(min=0), (truth.shape[1], truth.shape[2]), smooth=False)
    inside = (spread * truth).sum(dim=(1, 2))
    return inside / spread.sum(dim=(1, 2)).clamp(min=torch.finfo(spread.dtype).tiny)


def _ranks(model: FPTClassifier, indices: Tensor, heat: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of each kept token's place among the located ones, (B, L, H, M), -1 for prefix tokens, and how many
    places are located (B, 1, 1, 1).
    """
    grid, prefix = (heat.shape[1], heat.shape[2]), model.backbone.num_prefix_tokens
    side = model.backbone.image_size // model.backbone.patch_size
    if grid != (side, side):
        raise ValueError(f"heat of {grid[0]} x {grid[1]} tokens does not fit this model's grid of {side} x {side}.")
    places = indices.flatten(1)
    located = scatter_to_grid(torch.ones_like(places, dtype=heat.dtype), places, prefix, grid)[0].flatten(1) > 0
    order = heat.flatten(1).masked_fill(~located, float("-inf")).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    ranks = rank.gather(1, (places - prefix).clamp(min=0)).masked_fill(places < prefix, -1).view_as(indices)
    return ranks, located.sum(dim=1).view(-1, 1, 1, 1)


@torch.no_grad()
def _curve(
    model: FPTClassifier,
    features: CachedFeatures,
    side_image: Tensor,
    target: Tensor,
    steps: int,
    multilabel: bool,
    kept: Callable[[float], Tensor],
) -> Tensor:
    """Probability of ``target`` for each share of the located tokens, (B, steps + 1)."""
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    plain = dequantized(features, next(model.fusion.parameters()).dtype)
    values = []
    for step in range(steps + 1):
        attention = fusion_attention(model, plain, kept(step / steps))
        logits = logits_from_attention(model, attention, plain, side_image)
        probabilities = logits.sigmoid() if multilabel else logits.softmax(dim=1)
        values.append(probabilities.gather(1, target.unsqueeze(1)))
    return torch.cat(values, dim=1)
