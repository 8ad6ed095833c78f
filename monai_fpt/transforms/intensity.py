"""Intensity: contrast-limited adaptive histogram equalisation, percentiles of the foreground, and CT windows.

CLAHE is scikit-image's ``equalize_adapthist`` (K. Zuiderveld, Graphics Gems IV, 1994); MONAI's ``HistogramNormalize``
equalises the whole image at once and lifts noise. On colour it works on the lightness L* alone, so hues stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_fpt.data.windows import hu_window, resolved_windows
from monai_fpt.transforms._each_key import FPTEachKeyd
from monai_fpt.transforms._pixels import ImageLike, file_of, image_library, like_input, unit_image, unit_range

__all__ = [
    "FPTClahe",
    "FPTClaheD",
    "FPTClaheDict",
    "FPTClahed",
    "FPTPercentileScale",
    "FPTPercentileScaleD",
    "FPTPercentileScaleDict",
    "FPTPercentileScaled",
    "FPTWindow",
    "FPTWindowD",
    "FPTWindowDict",
    "FPTWindowd",
]


class FPTClahe(Transform):  # type: ignore[misc]
    """Contrast-limited adaptive histogram equalisation.

    Args:
        clip_limit: the limit of contrast; higher is stronger, 0.01 is scikit-image's default.
        tiles: the image is divided into about so many tiles a side.

    Raises:
        ValueError: an argument is out of its range.
        ImportError: at the first image, scikit-image is not installed.

    Example:
        >>> FPTClahe()(torch.full((1, 16, 16), 0.5)).unique().tolist()
        [0.5]
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, clip_limit: float = 0.01, tiles: int = 8) -> None:
        self.clip_limit = unit_range(clip_limit, "FPTClahe", "clip_limit", 1e-4, 1)
        if isinstance(tiles, bool) or not isinstance(tiles, int) or not 1 <= tiles <= 64:
            raise ValueError(f"FPTClahe: tiles is {tiles!r}; choose a whole number from 1 to 64.")
        self.tiles = tiles

    def __call__(self, img: ImageLike) -> Any:
        """Equalise one image.

        Args:
            img: (C, H, W), C 1 or 3, in [0, 1] or uint8; three equal channels are treated as one.

        Returns:
            float32 of the same shape in [0, 1]; a constant image is not changed.

        Raises:
            TypeError: the image is of another integer type.
            ValueError: the image has another shape, or values outside [0, 1].
        """
        image = unit_image(img, "FPTClahe").clamp(0, 1)
        if image.min() == image.max():
            return like_input(image, img)
        if all(torch.equal(channel, image[0]) for channel in image[1:]):
            return like_input(self._equalised(image[0]).expand_as(image).contiguous(), img)
        colour = image_library("color")
        lab = colour.rgb2lab(image.double().numpy(), channel_axis=0)
        lab[0] = 100 * self._equalised(torch.from_numpy(lab[0] / 100).clamp(0, 1)).double().numpy()
        # an L* that is raised can leave the range of RGB; clipping it is what conversion does
        rgb = np.clip(colour.lab2rgb(lab, channel_axis=0), 0, 1)
        return like_input(torch.from_numpy(rgb).float(), img)

    def _equalised(self, plane: torch.Tensor) -> torch.Tensor:
        """One plane (H, W) in [0, 1], not constant but perhaps so where its colours differ alone."""
        if plane.min() == plane.max():
            return plane.float()
        tile = [max(1, round(side / self.tiles)) for side in plane.shape]
        done = image_library("exposure").equalize_adapthist(plane.double().numpy(), tile, self.clip_limit)
        return torch.from_numpy(done).float().clamp(0, 1)


class FPTPercentileScale(Transform):  # type: ignore[misc]
    """Bring the values between two percentiles to [0, 1] and clip the rest.

    MONAI's ``ScaleIntensityRangePercentiles`` counts the background, so an image with much air or padding is scaled by
    its air, and gives NaN or unscaled values for constant images. All channels are scaled alike: colours stay.

    Args:
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        foreground: the percentiles are those of the pixels above the smallest value, which is air or padding.

    Raises:
        ValueError: the percentiles do not rise within [0, 100].

    Example:
        >>> FPTPercentileScale(0, 100)(torch.tensor([[[0.0, 100.0, 300.0]]])).tolist()
        [[[0.0, 0.0, 1.0]]]
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, lower: float = 0.5, upper: float = 99.5, foreground: bool = True) -> None:
        if not 0 <= lower < upper <= 100:
            raise ValueError(
                f"FPTPercentileScale: lower {lower} and upper {upper} must rise within [0, 100]; choose for example 0.5 "
                "and 99.5."
            )
        self.lower, self.upper, self.foreground = float(lower), float(upper), bool(foreground)

    def __call__(self, img: ImageLike) -> Any:
        """Scale one image.

        Args:
            img: (C, H, W) of any range and type.

        Returns:
            float32 of the same shape in [0, 1]; zeros where the image is constant between the percentiles.

        Raises:
            ValueError: the image has not three dimensions, no pixels, or values that are no numbers.
        """
        values = _plain_values(img)
        if values.ndim != 3 or values.size == 0 or not np.isfinite(values).all():
            raise ValueError(
                f"FPTPercentileScale: the image{file_of(img)} has shape {values.shape}, expected (C, H, W) of finite "
                "numbers; repair it or leave it out."
            )
        counted = values[values > values.min()] if self.foreground else values.ravel()
        low, high = np.percentile(counted, [self.lower, self.upper]) if counted.size else (0.0, 0.0)
        if self.foreground and counted.size and low == high:  # one value beside the background: keep it apart
            low = float(values.min())
        if not high > low:
            return like_input(torch.zeros(values.shape), img)
        scaled = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
        return like_input(torch.from_numpy(scaled), img)


class FPTWindow(Transform):  # type: ignore[misc]
    """CT values through one or several windows, one channel each.

    In MONAI it takes ``CopyItemsd``, a ``ScaleIntensityRanged`` a window, and ``ConcatItemsd``. Files that
    :class:`~monai_fpt.data.FPTImageReader` reads are windowed there (its option ``windows``); this is for images that
    come as Hounsfield units from elsewhere.

    Args:
        windows: names of :data:`~monai_fpt.data.windows.HU_WINDOWS` or pairs (centre, width) in HU; or one name.

    Raises:
        ValueError: no window, or one that cannot be.

    Example:
        >>> FPTWindow(["soft_tissue", "lung"])(torch.tensor([[[-600.0, 40.0]]])).tolist()
        [[[0.0, 0.5]], [[0.5, 0.9266666769981384]]]
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, windows: Sequence[Any] | str) -> None:
        self.windows = resolved_windows([windows] if isinstance(windows, str) else windows)
        if not self.windows:
            raise ValueError(
                "FPTWindow: no window is given; name one, for example 'lung', or give [centre, width] in HU."
            )

    def __call__(self, img: ImageLike) -> Any:
        """Window one image.

        Args:
            img: (H, W) or (1, H, W) in HU, of any type.

        Returns:
            float32 (K, H, W) in [0, 1], K windows.

        Raises:
            ValueError: the image has another shape, values that are no numbers, or is scaled to [0, 1] already.
        """
        values = _plain_values(img)
        plane = values[0] if values.ndim == 3 and values.shape[0] == 1 else values
        if plane.ndim != 2 or plane.size == 0 or not np.isfinite(plane).all():
            raise ValueError(
                f"FPTWindow: the image{file_of(img)} has shape {values.shape}, expected (H, W) or (1, H, W) of finite "
                "numbers in HU; give a single channel, or use the option windows of FPTImageReader."
            )
        if values.min() >= 0 and values.max() <= 1 and np.unique(values).size > 2:
            raise ValueError(
                f"FPTWindow: the image{file_of(img)} has values in [0, 1], which are no HU; window it before it is "
                "scaled, or use the option windows of FPTImageReader."
            )
        channels = np.stack([hu_window(plane, center, width) for center, width in self.windows])
        return like_input(torch.from_numpy(channels), img)


def _plain_values(img: ImageLike) -> Any:
    """The image as a float64 array."""
    plain = img.as_tensor() if isinstance(img, MetaTensor) else img
    return (plain.cpu().numpy() if isinstance(plain, torch.Tensor) else np.asarray(plain)).astype(np.float64)


class FPTClahed(FPTEachKeyd):
    """Dictionary version of :class:`FPTClahe`.

    Args:
        keys: keys of the images.
        clip_limit: the limit of contrast.
        tiles: the image is divided into about so many tiles a side.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, clip_limit: float = 0.01, tiles: int = 8, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, FPTClahe(clip_limit, tiles), allow_missing_keys)


class FPTPercentileScaled(FPTEachKeyd):
    """Dictionary version of :class:`FPTPercentileScale`; each key by its own percentiles.

    Args:
        keys: keys of the images.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        foreground: the percentiles are those of the pixels above the smallest value.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.5,
        upper: float = 99.5,
        foreground: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FPTPercentileScale(lower, upper, foreground), allow_missing_keys)


class FPTWindowd(FPTEachKeyd):
    """Dictionary version of :class:`FPTWindow`.

    Args:
        keys: keys of the images.
        windows: names or pairs (centre, width) in HU.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(self, keys: KeysCollection, windows: Sequence[Any] | str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, FPTWindow(windows), allow_missing_keys)


FPTClaheD = FPTClaheDict = FPTClahed
FPTPercentileScaleD = FPTPercentileScaleDict = FPTPercentileScaled
FPTWindowD = FPTWindowDict = FPTWindowd
