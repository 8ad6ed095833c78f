"""Where the picture is in the image: foreground as a box, and the crop to it, which can be undone.

MONAI's ``CropForeground`` takes every pixel that a function selects; by default every pixel above 0, which on the noisy
black of a JPEG file is nearly the whole image, and it gives an empty or a one-pixel image where nothing or only a speck
is selected. Here the largest connected region decides, and a box that would keep too little is not believed: the image
stays whole and a warning says so. Decisions:

* Regions are sought on the image averaged down to at most 1024 pixels a side. Averaging removes noise and makes it
  fast; the box is widened to whole blocks, so it keeps at most one block (4 pixels of 4096) too much, never too little.
* The crop is MONAI's ``Crop``: position (affine), trace and inverse are its.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import Crop, InvertibleTransform
from monai.utils import TransformBackends
from scipy import ndimage

from monai_fpt.transforms._each_key import FPTEachKeyInverted
from monai_fpt.transforms._pixels import ImageLike, kept_whole, like_input, unit_image, unit_range

__all__ = ["FPTCropToBox", "FPTCropToBoxd", "PixelBox", "largest_region", "reduced"]

_LONGEST = 1024


class PixelBox(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def reduced(image: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(C, H, W) averaged in square blocks so that no side is above 1024 pixels, and the side of a block."""
    block = math.ceil(max(image.shape[1:]) / _LONGEST)
    if block == 1:
        return image, 1
    smaller = torch.nn.functional.avg_pool2d(image[None], block, ceil_mode=True, count_include_pad=False)[0]
    return smaller, block


def largest_region(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest region of a mask (H, W) whose pixels touch at their sides; all False where the mask is.

    Example:
        >>> largest_region(np.array([[1, 0, 1, 1]], dtype=bool)).tolist()
        [[False, False, True, True]]
    """
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    region: npt.NDArray[np.bool_] = labels == sizes.argmax()
    return region


class FPTCropToBox(InvertibleTransform):  # type: ignore[misc]
    """Base of the crops: a subclass says which pixels are the picture, this class crops to them.

    Args:
        margin: added on all sides, as a share of the box's longer side; the image's ends are never passed.
        min_share: the smallest share of the image's area that a box is believed with.

    Raises:
        ValueError: an argument is out of its range.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, margin: float, min_share: float) -> None:
        self.margin = unit_range(margin, type(self).__name__, "margin")
        self.min_share = unit_range(min_share, type(self).__name__, "min_share")
        self.cropper = Crop()

    @abstractmethod
    def foreground(self, image: torch.Tensor) -> npt.NDArray[np.bool_]:
        """Which pixels of a (C, H, W) image in [0, 1] are the picture, (H, W)."""

    def find_box(self, img: ImageLike) -> PixelBox:
        """The box of the picture; the whole image, with a warning, where none is to be believed.

        Args:
            img: (C, H, W), C 1 or 3, in [0, 1] or uint8.

        Raises:
            TypeError: the image is of another integer type.
            ValueError: the image has another shape, or values outside [0, 1].
        """
        what = type(self).__name__
        image = unit_image(img, what)
        height, width = image.shape[1:]
        whole = PixelBox(0, height, 0, width)
        low, high = torch.aminmax(image)
        if high - low < 1e-6:
            kept_whole(what, img, f"all values are {float(low):.3g}", "look at the image or leave it out")
            return whole
        small, block = reduced(image)
        region = self.foreground(small)
        if not region.any():
            kept_whole(what, img, "no picture stands out from the border", "look at the image or change the settings")
            return whole
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        top, bottom, left, right = (
            rows[0] * block,
            (rows[-1] + 1) * block,
            columns[0] * block,
            (columns[-1] + 1) * block,
        )
        reach = round(self.margin * max(bottom - top, right - left))
        box = PixelBox(
            int(max(top - reach, 0)),
            int(min(bottom + reach, height)),
            int(max(left - reach, 0)),
            int(min(right + reach, width)),
        )
        share = (box.bottom - box.top) * (box.right - box.left) / (height * width)
        if share < self.min_share:
            reason = f"the picture found is only {share:.1%} of the area"
            kept_whole(what, img, reason, f"look at the image or lower min_share ({self.min_share:g})")
            return whole
        return box

    def __call__(self, img: ImageLike, box: PixelBox | None = None) -> Any:
        """Crop one image.

        Args:
            img: (C, H, W); in [0, 1] or uint8 where the box is sought in it, of any kind where it is given.
            box: the box, from :meth:`find_box`; sought in the image where absent.

        Returns:
            the crop, of the input's kind and type; a MetaTensor has the trace for :meth:`inverse`.

        Raises:
            TypeError: see :meth:`find_box`.
            ValueError: likewise.
        """
        found = self.find_box(img) if box is None else box
        cropped = self.cropper(img, slices=(slice(found.top, found.bottom), slice(found.left, found.right)))
        return like_input(cropped.contiguous(), img)  # a view would keep and send the whole image

    def inverse(self, data: Any) -> Any:
        """Put the crop back to its place; what was cut away is 0."""
        return self.cropper.inverse(data)


class FPTCropToBoxd(FPTEachKeyInverted):
    """Base of the crops for dictionaries: one key decides the box, all keys are cropped to it.

    Args:
        keys: keys of the images and masks, of one height and width.
        transform: the array transform.
        source_key: key of the image that decides; the first of ``keys`` where absent.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, transform: FPTCropToBox, source_key: Hashable | None, allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, transform, allow_missing_keys)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the images of one item to one box; the other entries are passed on.

        Raises:
            KeyError: the deciding image is absent.
            ValueError: the images differ in height or width, or the deciding one is no image in [0, 1].
        """
        item = dict(data)
        source = self.source_of(item, self.source_key)
        if source is not None:
            box = self.transform.find_box(item[source])
            for key in self.key_iterator(item):
                item[key] = self.transform(item[key], box)
        return item
