"""The one way images are resized: antialiased bilinear, aspect not kept (SPEC section 1).

Extraction, thumbnails and the side image of an uncached prediction all go through here, so that a cached and an
uncached image agree.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_image", "thumbnail_size"]


def resize_image(image: Tensor, size: int) -> Tensor:
    """Resize (B, C, H, W) floating point images to (B, C, size, size)."""
    if tuple(image.shape[-2:]) == (size, size):
        return image
    return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def thumbnail_size(side_size: int) -> int:
    """Pixels of the cached thumbnail: a quarter more than the side network reads, so that random crops have something
    to choose from.
    """
    return round(side_size * 1.25)
