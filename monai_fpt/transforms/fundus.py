"""Fundus photographs: crop to the disc, mask its outside, and Graham's local contrast.

A fundus camera leaves a round picture on black; the black is JPEG-noisy, may carry a date or a logo, and the disc is
often cut at top and bottom. None of the three is in MONAI: ``CropForeground`` with its default selects the noise as
well, see :mod:`monai_fpt.transforms.boxes`. Graham's transform (B. Graham, Kaggle Diabetic Retinopathy Detection,
competition report, 2015) removes illumination and with it the natural colours that a pretrained backbone expects and
the exposure that image quality shows in; it is an option, never a default.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import Transform
from monai.utils import TransformBackends
from scipy import ndimage

from monai_fpt.transforms._each_key import FPTEachKeyd
from monai_fpt.transforms._pixels import ImageLike, like_input, unit_image, unit_range
from monai_fpt.transforms.boxes import FPTCropToBox, FPTCropToBoxd, largest_region

__all__ = [
    "FPTBenGraham",
    "FPTBenGrahamD",
    "FPTBenGrahamDict",
    "FPTBenGrahamd",
    "FPTCircleMask",
    "FPTCircleMaskD",
    "FPTCircleMaskDict",
    "FPTCircleMaskd",
    "FPTFundusCrop",
    "FPTFundusCropD",
    "FPTFundusCropDict",
    "FPTFundusCropd",
]

_FINE_SIGMA = 8.0  # a blur this wide in pixels is exact enough on an image reduced so far


class FPTFundusCrop(FPTCropToBox):
    """Crop to the disc of a fundus photograph: the largest region whose brightest channel is above a threshold.

    MONAI's ``CropForeground`` has neither the tolerance for noisy black nor the region nor the fall-back; a disc cut by
    the image's end gives the box of what is there. The disc's aspect is kept; follow with :class:`FPTResizePad`.

    Args:
        threshold: what is brighter in its brightest channel belongs to the disc; on the scale [0, 1].
        margin: added on all sides, as a share of the box's longer side.
        min_share: a box of a smaller share of the area is not believed, the image stays whole with a warning.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> image = torch.zeros(3, 60, 90)
        >>> image[0, 10:50, 20:60] = 0.7
        >>> FPTFundusCrop(min_share=0.1)(image).shape
        torch.Size([3, 40, 40])
    """

    def __init__(self, threshold: float = 0.06, margin: float = 0.0, min_share: float = 0.15) -> None:
        super().__init__(margin, min_share)
        self.threshold = unit_range(threshold, "FPTFundusCrop", "threshold")

    def foreground(self, image: torch.Tensor) -> npt.NDArray[np.bool_]:
        """The disc, (H, W)."""
        return largest_region((image.amax(0) > self.threshold).numpy())


class FPTCircleMask(Transform):  # type: ignore[misc]
    """Fill what is outside a circle about the image's centre; use it after :class:`FPTFundusCrop`.

    The circle's diameter is the longer side of the image, so a disc that is cut at top and bottom keeps all it has.
    MONAI has masks by threshold or by another image only.

    Args:
        radius: of the circle, in halves of the image's longer side.
        fill: value of the outside.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> FPTCircleMask()(torch.ones(1, 4, 4))[0].tolist()[0]
        [0.0, 1.0, 1.0, 0.0]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, radius: float = 1.0, fill: float = 0.0) -> None:
        self.radius = unit_range(radius, "FPTCircleMask", "radius", 0.05, 1.5)
        self.fill = unit_range(fill, "FPTCircleMask", "fill")

    def __call__(self, img: ImageLike) -> Any:
        """Mask one image.

        Args:
            img: (C, H, W), C 1 or 3, in [0, 1] or uint8.

        Returns:
            float32 of the same shape in [0, 1].

        Raises:
            TypeError: the image is of another integer type.
            ValueError: the image has another shape, or values outside [0, 1].
        """
        image = unit_image(img, "FPTCircleMask")
        return like_input(_outside_filled(image, self.radius, self.fill), img)


class FPTBenGraham(Transform):  # type: ignore[misc]
    """Graham's local contrast, ``weight * (image - blurred image) + 0.5``, the edge of the disc masked.

    Use it after :class:`FPTFundusCrop`. MONAI's ``GaussianSharpen`` adds such a difference to the image; it neither
    removes the illumination nor masks the halo at the disc's edge.

    Args:
        weight: of the difference; Graham's is 4.
        sigma: of the Gaussian, as a share of the image's longer side.
        radius: of the circle that is kept, in halves of the longer side; its outside is 0.5.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> bool((FPTBenGraham()(torch.full((3, 9, 9), 0.3)) == 0.5).all())
        True
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, weight: float = 4.0, sigma: float = 1 / 30, radius: float = 0.95) -> None:
        self.weight = unit_range(weight, "FPTBenGraham", "weight", 0.1, 100)
        self.sigma = unit_range(sigma, "FPTBenGraham", "sigma", 1e-3, 0.5)
        self.radius = unit_range(radius, "FPTBenGraham", "radius", 0.05, 1.5)

    def __call__(self, img: ImageLike) -> Any:
        """Transform one image.

        Args:
            img: (C, H, W), C 1 or 3, in [0, 1] or uint8.

        Returns:
            float32 of the same shape in [0, 1].

        Raises:
            TypeError: the image is of another integer type.
            ValueError: the image has another shape, or values outside [0, 1].
        """
        image = unit_image(img, "FPTBenGraham")
        difference = image - _blurred(image, self.sigma * max(image.shape[1:]))
        contrast = (self.weight * difference + 0.5).clamp(0, 1)
        return like_input(_outside_filled(contrast, self.radius, 0.5), img)


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """(C, H, W) through a Gaussian; a wide one is applied to an image reduced in blocks, which no eye can tell."""
    block = max(1, int(sigma / _FINE_SIGMA))
    pool = torch.nn.functional.avg_pool2d
    small = pool(image[None], block, ceil_mode=True, count_include_pad=False)[0] if block > 1 else image
    blurred = torch.from_numpy(
        ndimage.gaussian_filter(small.numpy(), (0, sigma / block, sigma / block), mode="reflect")
    )
    if block == 1:
        return blurred
    height, width = (block * side for side in small.shape[1:])  # whole blocks, so that positions are kept
    wide = torch.nn.functional.interpolate(blurred[None], size=(height, width), mode="bilinear", align_corners=False)
    return wide[0, :, : image.shape[1], : image.shape[2]]


def _outside_filled(image: torch.Tensor, radius: float, fill: float) -> torch.Tensor:
    """The image with all pixels filled whose centre is outside the circle."""
    height, width = image.shape[1:]
    rows = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    outside = rows[:, None] ** 2 + columns**2 > (radius * max(height, width) / 2) ** 2
    return image.masked_fill(outside, fill)


class FPTFundusCropd(FPTCropToBoxd):
    """Dictionary version of :class:`FPTFundusCrop`; one key decides, all are cropped alike.

    Args:
        keys: keys of the images and masks, of one height and width.
        source_key: key of the image that decides; the first of ``keys`` where absent.
        threshold: what is brighter in its brightest channel belongs to the disc.
        margin: added on all sides, as a share of the box's longer side.
        min_share: a box of a smaller share of the area is not believed.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: Hashable | None = None,
        threshold: float = 0.06,
        margin: float = 0.0,
        min_share: float = 0.15,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FPTFundusCrop(threshold, margin, min_share), source_key, allow_missing_keys)


class FPTCircleMaskd(FPTEachKeyd):
    """Dictionary version of :class:`FPTCircleMask`.

    Args:
        keys: keys of the images.
        radius: of the circle, in halves of the image's longer side.
        fill: value of the outside.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, radius: float = 1.0, fill: float = 0.0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, FPTCircleMask(radius, fill), allow_missing_keys)


class FPTBenGrahamd(FPTEachKeyd):
    """Dictionary version of :class:`FPTBenGraham`.

    Args:
        keys: keys of the images.
        weight: of the difference.
        sigma: of the Gaussian, as a share of the image's longer side.
        radius: of the circle that is kept.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        weight: float = 4.0,
        sigma: float = 1 / 30,
        radius: float = 0.95,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FPTBenGraham(weight, sigma, radius), allow_missing_keys)


FPTFundusCropD = FPTFundusCropDict = FPTFundusCropd
FPTCircleMaskD = FPTCircleMaskDict = FPTCircleMaskd
FPTBenGrahamD = FPTBenGrahamDict = FPTBenGrahamd
