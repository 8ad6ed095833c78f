"""Where a token lies: from token indices to the grid of patches, and from there to the pixels of an image.

A token is a patch of the *square* image the backbone read, row by row behind the prefix tokens (CLS, registers). The
square came about by stretching, so on the image before the resize a token is a box of ``height / rows`` by ``width /
columns`` pixels. Prefix tokens have no place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_heat", "scatter_to_grid", "token_box"]


def scatter_to_grid(values: Tensor, indices: Tensor, num_prefix: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Add up values at the places of their tokens.

    Args:
        values: (..., J), one number a token.
        indices: the token's index, of the same shape or broadcastable to it; several may be equal.
        num_prefix: tokens before the patches.
        grid: rows and columns.

    Returns:
        sums (..., rows, columns), and (...) what lay on prefix tokens.
    """
    rows, columns = grid
    sums = values.new_zeros(*values.shape[:-1], num_prefix + rows * columns)
    sums.scatter_add_(-1, indices.expand_as(values), values)
    return sums[..., num_prefix:].unflatten(-1, grid), sums[..., :num_prefix].sum(-1)  # type: ignore[no-untyped-call]


def resize_heat(heat: Tensor, size: tuple[int, int], smooth: bool = True) -> Tensor:
    """A map on the grid of tokens as a map on the pixels of the image that was stretched to the square.

    Args:
        heat: (..., rows, columns).
        size: height and width of the image in pixels.
        smooth: cubic between the centres of tokens, kept between the map's lowest and highest value; False gives each
            token its box.

    Returns:
        (..., height, width).
    """
    maps = heat.reshape(-1, 1, *heat.shape[-2:]).float()
    if smooth:
        resized = F.interpolate(maps, size=size, mode="bicubic", align_corners=False)
        resized = torch.minimum(torch.maximum(resized, maps.amin((-2, -1), True)), maps.amax((-2, -1), True))
    else:
        resized = F.interpolate(maps, size=size, mode="nearest-exact")
    return resized.reshape(*heat.shape[:-2], *size)


def token_box(row: int, column: int, grid: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a token in pixels of an image of ``size`` (height, width).

    Example:
        >>> token_box(1, 2, grid=(4, 4), size=(100, 400))
        (200.0, 25.0, 300.0, 50.0)
    """
    height, width = size[0] / grid[0], size[1] / grid[1]
    return column * width, row * height, (column + 1) * width, (row + 1) * height
