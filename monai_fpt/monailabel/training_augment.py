"""The side image's augmentation for a whole batch at once.

What is done to an image is drawn by :class:`~monai_fpt.transforms.RandFPTSideAugment`, the transform that training by the
bundle uses, and comes out as there. That one works image by image, which costs as much as everything else of a retraining
together. Here crop and antialiased resize are one matrix for the rows and one for the columns of each image, and
the batch is two matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_fpt.transforms.array import SideAugmentDraw

__all__ = ["augment_batch", "crop_matrices"]

_GREY = (0.2989, 0.587, 0.114)  # of the red, green and blue channel, as torchvision's


def crop_matrices(starts: Tensor, lengths: Tensor, source: int, size: int) -> Tensor:
    """Cut ``length`` pixels from ``start`` of a line of pixels and resize them, bilinear and antialiased, as a matrix.

    Args:
        starts: (B,) first pixel.
        lengths: (B,) pixels.
        source: pixels of the line.
        size: pixels of the result.

    Returns:
        float32 (B, size, source); each row adds up to 1.

    Example:
        >>> crop_matrices(torch.tensor([1]), torch.tensor([2]), source=4, size=2)
        tensor([[[0., 1., 0., 0.],
                 [0., 0., 1., 0.]]])
    """
    scale = (lengths / size).view(-1, 1, 1)
    centres = scale * (torch.arange(size).view(1, -1, 1) + 0.5)
    pixels = torch.arange(source).view(1, 1, -1) - starts.view(-1, 1, 1)
    weights = (1 - (pixels + 0.5 - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels >= 0) & (pixels < lengths.view(-1, 1, 1)))
    return weights / weights.sum(dim=2, keepdim=True)


def augment_batch(thumbnails: Tensor, draws: Sequence[SideAugmentDraw], size: int) -> Tensor:
    """Augment thumbnails, each by its own draw.

    Args:
        thumbnails: (B, 3, T, T) in [0, 1].
        draws: B draws for (3, T, T).
        size: pixels of the result.

    Returns:
        float32 (B, 3, size, size) in [0, 1].
    """
    side = thumbnails.shape[-1]
    turned = thumbnails
    for name, axis in (("flip", -1), ("vertical_flip", -2)):
        flips = torch.tensor([getattr(draw, name) for draw in draws]).view(-1, 1, 1, 1)
        turned = torch.where(flips, turned.flip(axis), turned)
    if any(draw.quarter_turns for draw in draws):
        pairs = zip(turned, draws, strict=True)
        turned = torch.stack([torch.rot90(image, draw.quarter_turns, (1, 2)) for image, draw in pairs])
    brightness, contrast = (
        torch.tensor([getattr(draw, name) for draw in draws]).view(-1, 1, 1, 1) for name in ("brightness", "contrast")
    )
    bright = (turned * brightness).clamp(0, 1)
    grey = (bright * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    jittered = (contrast * bright + (1 - contrast) * grey).clamp(0, 1)
    top, left, height, width = (
        torch.tensor([getattr(draw, name) for draw in draws]) for name in ("top", "left", "height", "width")
    )
    rows, columns = crop_matrices(top, height, side, size), crop_matrices(left, width, side, size)
    return (rows.unsqueeze(1) @ jittered @ columns.unsqueeze(1).transpose(2, 3)).clamp(0, 1)
