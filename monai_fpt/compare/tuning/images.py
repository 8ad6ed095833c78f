"""Images of a section as bytes of one square size, decoded once and read in every epoch.

Decisions:

- A section is one file of uint8 pixels in the working folder, mapped into memory. Decoding and preparing a full-resolution image
  takes longer than a training step of it; arms, seeds and epochs that share the folder share the file.
- Training images are kept a quarter larger than they are read, so that random crops have something to choose from (as the cache's
  thumbnails of the side network are); the others at the size that is read, resized once.
- The augmentation is the one that FPT+ gives its side network (flip, brightness, contrast, random resized crop), from the same transform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_fpt._files import whole_file
from monai_fpt.compare.arm import FPTArmData
from monai_fpt.networks import resize_image, thumbnail_size
from monai_fpt.transforms import RandFPTSideAugment

__all__ = ["FPTTuningImages"]


class FPTTuningImages:
    """The images of one section, in the order of the data list.

    Args:
        arm_data: its items, how they are read, its working folder.
        section: ``"training"``, ``"validation"`` or ``"test"``.
        image_size: side in pixels of the square image that the model reads.

    Raises:
        ValueError: an image that is not (3, H, W) of numbers in [0, 1].
    """

    def __init__(self, arm_data: FPTArmData, section: str, image_size: int) -> None:
        self.items: Sequence[Mapping[str, Any]] = arm_data.data.section(section)
        self.image_size = image_size
        self.device = arm_data.device
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (arm_data.mean, arm_data.std))
        self._mean, self._std = mean, std
        size = thumbnail_size(image_size) if section == "training" else image_size
        path = arm_data.work_dir / f"{section}_{size}_{arm_data.data.digest[:16]}.uint8"
        if self.items and not path.is_file():
            self._write(path, arm_data, size)
        self._pixels = _mapped(path, len(self.items), size)

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: Sequence[int], augment: RandFPTSideAugment | None = None) -> Tensor:
        """Normalised images (len(rows), 3, image_size, image_size) on the device; augmented where ``augment`` is given."""
        return (torch.stack([self._image(row, augment) for row in rows]).to(self.device) - self._mean) / self._std

    def _image(self, row: int, augment: RandFPTSideAugment | None) -> Tensor:
        pixels = torch.from_numpy(np.array(self._pixels[row]))
        if augment is not None:
            augmented: Tensor = augment(pixels)
            return augmented
        return resize_image(pixels[None].float() / 255, self.image_size)[0]

    def _write(self, path: Path, arm_data: FPTArmData, size: int) -> None:
        with whole_file(path) as beside, beside.open("wb") as file:
            for item in self.items:
                image = _checked(arm_data.load(item), item)
                small = resize_image(image[None], size)[0]
                file.write((small * 255).round_().clamp_(0, 255).to(torch.uint8).numpy().tobytes())


def _mapped(path: Path, count: int, size: int) -> npt.NDArray[np.uint8]:
    shape = (count, 3, size, size)
    return np.memmap(path, np.uint8, "r", shape=shape) if count else np.empty(shape, np.uint8)


def _checked(image: Tensor, item: Mapping[str, Any]) -> Tensor:
    fits = image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point()
    low, high = (float(v) for v in torch.aminmax(image)) if fits else (np.nan, np.nan)
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # so worded, NaN is refused too
        raise ValueError(
            f"compare: image {item['key']!r} is {image.dtype} of shape {tuple(image.shape)} and runs from {low:.4g} to {high:.4g}, expected "
            f"floats (3, H, W) in [0, 1]; give the recipe's own loading."
        )
    return image.detach().cpu().float().as_subclass(Tensor)
