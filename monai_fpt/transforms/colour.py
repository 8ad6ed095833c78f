"""Colour: constancy by shades of grey, and grey images as colour images.

Dermoscopes differ in their light. Shades of grey (G. D. Finlayson, E. Trezzi, Color Imaging Conference 2004) takes the
Minkowski mean of each channel for the colour of the light and divides by it; power 6 is what the best entries of the
ISIC challenges used. MONAI has no colour constancy. It changes the statistics the backbone was pretrained with, hence
it is an option.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_fpt.transforms._each_key import FPTEachKeyd
from monai_fpt.transforms._pixels import ImageLike, like_input, unit_image, unit_range

__all__ = [
    "FPTGreyToRGB",
    "FPTGreyToRGBD",
    "FPTGreyToRGBDict",
    "FPTGreyToRGBd",
    "FPTShadesOfGray",
    "FPTShadesOfGrayD",
    "FPTShadesOfGrayDict",
    "FPTShadesOfGrayd",
]


class FPTShadesOfGray(Transform):  # type: ignore[misc]
    """Make the light white: divide each channel by its Minkowski mean, keeping the overall brightness.

    Args:
        power: of the Minkowski mean; 1 is the grey-world assumption, large powers near the brightest-point one.

    Raises:
        ValueError: the power is out of its range.

    Example:
        >>> light = torch.tensor([0.8, 0.4, 0.4]).view(3, 1, 1)
        >>> FPTShadesOfGray()(light).flatten().tolist()
        [0.5656854510307312, 0.5656854510307312, 0.5656854510307312]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, power: float = 6.0) -> None:
        self.power = unit_range(power, "FPTShadesOfGray", "power", 1, 20)

    def __call__(self, img: ImageLike) -> Any:
        """Correct one image.

        Args:
            img: (3, H, W) in [0, 1] or uint8.

        Returns:
            float32 of the same shape in [0, 1]; a channel that is all 0 stays so.

        Raises:
            TypeError: the image is of another integer type.
            ValueError: the image has another shape, or values outside [0, 1].
        """
        image = unit_image(img, "FPTShadesOfGray", channels=(3,)).clamp(0, 1)
        light = image.double().pow(self.power).mean((1, 2)).pow(1 / self.power)
        gain = torch.where(light > 0, light.norm() / (math.sqrt(3) * light), torch.ones_like(light))
        return like_input((image * gain.float().view(3, 1, 1)).clamp(0, 1), img)


class FPTGreyToRGB(Transform):  # type: ignore[misc]
    """Three equal channels of one; three channels stay as they are.

    MONAI's ``RepeatChannel(3)`` makes nine channels of three, so it cannot stand before mixed images.

    Example:
        >>> FPTGreyToRGB()(torch.zeros(1, 4, 5)).shape
        torch.Size([3, 4, 5])
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __call__(self, img: ImageLike) -> Any:
        """Repeat the channel of one image.

        Args:
            img: (H, W), (1, H, W) or (3, H, W), of any range and type.

        Returns:
            (3, H, W) of the input's kind and type.

        Raises:
            ValueError: the image has another shape.
        """
        image = img[None] if img.ndim == 2 else img
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ValueError(
                f"FPTGreyToRGB: the image has shape {tuple(img.shape)}, expected (H, W), (1, H, W) or (3, H, W); choose "
                "the channels first."
            )
        if image.shape[0] == 3:
            return img
        if isinstance(image, np.ndarray):
            return np.repeat(image, 3, axis=0)
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        return like_input(plain.repeat(3, 1, 1), img)


class FPTShadesOfGrayd(FPTEachKeyd):
    """Dictionary version of :class:`FPTShadesOfGray`.

    Args:
        keys: keys of the images.
        power: of the Minkowski mean.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, power: float = 6.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, FPTShadesOfGray(power), allow_missing_keys)


class FPTGreyToRGBd(FPTEachKeyd):
    """Dictionary version of :class:`FPTGreyToRGB`.

    Args:
        keys: keys of the images.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, FPTGreyToRGB(), allow_missing_keys)


FPTShadesOfGrayD = FPTShadesOfGrayDict = FPTShadesOfGrayd
FPTGreyToRGBD = FPTGreyToRGBDict = FPTGreyToRGBd
