"""Learned position embeddings at another input size.

Two rules give different numbers. The authors resize the patch grid bicubically *by scale factors* ``(h + 0.1) / g`` and
without antialiasing, so that the sampling points differ slightly from resizing to a target size; the published models
are trained that way and the parity tests need it. timm resizes to a size with antialiasing. :func:`resample_positions`
is the authors' rule; timm's is timm's own.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PositionRule", "resample_positions"]

PositionRule = Literal["fpt", "timm"]


def resample_positions(positions: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resize learned positions to another patch grid with the authors' rule (FPT, observed; SPEC section 2).

    Args:
        positions: (1, T + g * g', C), T prefix positions (CLS, ...) first; they are left untouched.
        old_grid: rows and columns of the given grid, (g, g').
        new_grid: rows and columns wanted, (h, w).

    Returns:
        (1, T + h * w, C); the argument itself where the grids agree.
    """
    if old_grid == new_grid:
        return positions
    prefix = positions.shape[1] - old_grid[0] * old_grid[1]
    grid = positions[:, prefix:].reshape(1, *old_grid, -1).permute(0, 3, 1, 2)  # (1, C, g, g')
    factors = [(new + 0.1) / old for new, old in zip(new_grid, old_grid, strict=True)]
    grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)
