"""Mammograms: crop to the breast.

A mammogram is mostly air, with a label of lead or, on scanned film, tape and a bright frame. The breast is the largest
region above Otsu's threshold after thin bridges to tape are opened. Otsu's threshold of the plain values often lies
between fat and gland and would cut the fat away; it is taken of their square roots, which brings fat and gland together
and air apart. MONAI has no Otsu crop: ``ForegroundMask`` takes the threshold but neither region nor crop, and
``CropForeground`` takes label and noise as foreground.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from scipy import ndimage

from monai_fpt.transforms._pixels import grey_plane, image_library, unit_range
from monai_fpt.transforms.boxes import FPTCropToBox, FPTCropToBoxd, largest_region

__all__ = ["FPTBreastCrop", "FPTBreastCropD", "FPTBreastCropDict", "FPTBreastCropd"]

_BRIDGE = 200  # bridges thinner than this part of the shorter side are opened


class FPTBreastCrop(FPTCropToBox):
    """Crop to the breast, without label, tape and frame.

    Args:
        margin: added on all sides, as a share of the box's longer side; it spares the skin line.
        border: this share of the height and width is left out on each side when the breast is sought, for the bright
            frame of scanned film; a breast that reaches the inner end of it is taken to the image's end.
        min_share: a box of a smaller share of the area is not believed, the image stays whole with a warning.

    Raises:
        ValueError: an argument is out of its range.
        ImportError: at the first image, scikit-image is not installed.

    Example:
        >>> image = torch.zeros(1, 80, 60)
        >>> image[:, 20:70, :25] = 0.5
        >>> FPTBreastCrop(margin=0)(image).shape
        torch.Size([1, 50, 25])
    """

    def __init__(self, margin: float = 0.01, border: float = 0.0, min_share: float = 0.05) -> None:
        super().__init__(margin, min_share)
        self.border = unit_range(border, "FPTBreastCrop", "border", 0, 0.2)

    def foreground(self, image: torch.Tensor) -> npt.NDArray[np.bool_]:
        """The breast, (H, W)."""
        grey = grey_plane(image).clamp(min=0).sqrt().numpy()
        height, width = grey.shape
        rows, columns = round(self.border * height), round(self.border * width)
        inner = grey[rows : height - rows, columns : width - columns]
        if inner.min() == inner.max():
            return np.zeros(grey.shape, dtype=bool)
        bright = inner > image_library("filters").threshold_otsu(inner)
        times = min(inner.shape) // _BRIDGE
        if times:  # the image's ends count as breast, so a breast at the end is not eroded there
            opened = ndimage.binary_dilation(
                ndimage.binary_erosion(bright, iterations=times, border_value=1), iterations=times
            )
            bright = largest_region(ndimage.binary_dilation(largest_region(opened), iterations=times) & bright)
        else:
            bright = largest_region(bright)
        return np.pad(bright, ((rows, rows), (columns, columns)), mode="edge")


class FPTBreastCropd(FPTCropToBoxd):
    """Dictionary version of :class:`FPTBreastCrop`; one key decides, all are cropped alike.

    Args:
        keys: keys of the images and masks, of one height and width.
        source_key: key of the image that decides; the first of ``keys`` where absent.
        margin: added on all sides, as a share of the box's longer side.
        border: left out on each side when the breast is sought.
        min_share: a box of a smaller share of the area is not believed.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: Hashable | None = None,
        margin: float = 0.01,
        border: float = 0.0,
        min_share: float = 0.05,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FPTBreastCrop(margin, border, min_share), source_key, allow_missing_keys)


FPTBreastCropD = FPTBreastCropDict = FPTBreastCropd
