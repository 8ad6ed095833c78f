"""Small asymmetric pictures with known boxes, and the way from a MetaTensor's pixels to positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor


def speckle(shape: tuple[int, ...], high: float = 0.04, seed: int = 0) -> torch.Tensor:
    """Noise in [0, high], as JPEG files have in their black."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * high


def fundus_phantom(height: int = 90, width: int = 140, radius: float = 50.0, centre: float = 62.0) -> torch.Tensor:
    """(3, H, W): a reddish disc on noisy black, cut at top and bottom where the radius is above half the height."""
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - (height - 1) / 2) ** 2 + (columns - centre) ** 2 <= radius**2
    disc = torch.from_numpy(inside).float() * torch.tensor([0.7, 0.4, 0.2]).view(3, 1, 1)
    return (disc * (0.8 + speckle((3, height, width), 0.2))).clamp(0, 1) + speckle((3, height, width), 0.04, 1)


def breast_phantom(height: int = 120, width: int = 80) -> torch.Tensor:
    """(3, H, W): a left breast (rows 20 to 104, columns 0 to 44), fat about 0.2 and gland 0.7, and a label at the right."""
    rows, columns = np.mgrid[:height, :width]
    fat = ((rows - 61.5) / 42) ** 2 + ((columns + 0.5) / 45) ** 2 < 1
    gland = ((rows - 66) / 20) ** 2 + ((columns - 14) / 12) ** 2 < 1
    picture = torch.from_numpy(np.where(gland, 0.7, np.where(fat, 0.2, 0.0))).float()
    picture[4:14, 60:76] = 0.9
    return (picture + speckle((height, width), 0.02)).clamp(0, 1).expand(3, -1, -1).clone()


def with_meta(image: torch.Tensor, **meta: Any) -> MetaTensor:
    """The image as a reader gives it: rows 0.1 mm and columns 0.2 mm apart, and a file name."""
    affine = torch.diag(torch.tensor([0.1, 0.2, 1.0, 1.0], dtype=torch.float64))
    facts = {"filename_or_obj": "a.png", "spacing": np.array([0.1, 0.2])} | meta
    return MetaTensor(image, affine=affine, meta=facts)


def place(image: MetaTensor, row: float, column: float) -> list[float]:
    """Where a pixel is, in mm."""
    found: list[float] = (image.affine @ torch.tensor([row, column, 0, 1], dtype=torch.float64))[:2].tolist()
    return found


def brightest(image: torch.Tensor) -> tuple[int, int]:
    """Row and column of the brightest pixel of the first channel."""
    plane = image.as_tensor()[0] if isinstance(image, MetaTensor) else image[0]
    row, column = np.unravel_index(int(plane.argmax()), tuple(plane.shape))
    return int(row), int(column)
