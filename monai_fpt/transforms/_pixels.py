"""What all transforms of this package ask of an image, and how they hand it back.

An image is (C, H, W), rows are H, and its values are in [0, 1]: 0 black, 1 white. uint8 means 0..255 and is brought to
[0, 1]; a float image outside [0, 1] is refused, since thresholds and colour arithmetic would go on silently with
nonsense. What went in as a MetaTensor comes out as one with its metadata and its trace of invertible transforms, a
plain tensor as a tensor, a NumPy array as an array.
"""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

__all__ = [
    "ImageLike",
    "file_of",
    "float_image",
    "grey_plane",
    "image_library",
    "kept_whole",
    "like_input",
    "positive_size",
    "unit_image",
    "unit_range",
    "with_spacing",
]

ImageLike: TypeAlias = torch.Tensor | npt.NDArray[Any]
_Tensor = TypeVar("_Tensor", bound=torch.Tensor)

_TOLERANCE = 1e-3  # interpolation may step over the ends by rounding
_GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


def positive_size(size: int, what: str) -> int:
    """The size itself, or ValueError where it is not a positive whole number."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{what}: size is {size!r}; give a positive whole number of pixels.")
    return size


def unit_range(value: float, what: str, name: str, low: float = 0.0, high: float = 1.0) -> float:
    """The setting itself as a float, or ValueError where it is no number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what}: {name} is {value!r}; choose a number from {low:g} to {high:g}.")
    return float(value)


def float_image(img: ImageLike, what: str) -> torch.Tensor:
    """The image as a plain float32 tensor; uint8 is brought to [0, 1].

    Raises:
        TypeError: no tensor, or of another integer type.
        ValueError: not three dimensions.
    """
    if not isinstance(img, torch.Tensor) or not (img.is_floating_point() or img.dtype == torch.uint8):
        found = img.dtype if isinstance(img, torch.Tensor) else type(img).__name__
        raise TypeError(f"{what}: the image is {found}, expected a uint8 or floating-point tensor; convert it first.")
    if img.ndim != 3:
        raise ValueError(f"{what}: the image has shape {tuple(img.shape)}, expected (C, H, W); give one image.")
    plain = img.as_tensor() if isinstance(img, MetaTensor) else img
    return plain.float() / 255 if plain.dtype == torch.uint8 else plain.float()


def unit_image(img: ImageLike, what: str, channels: tuple[int, ...] = (1, 3)) -> torch.Tensor:
    """The image as a plain float32 tensor in [0, 1] with an expected number of channels; arrays are taken, too.

    Raises:
        TypeError: of an integer type other than uint8.
        ValueError: not (C, H, W), another number of channels, no pixels, or values outside [0, 1].
    """
    image = float_image(torch.from_numpy(np.ascontiguousarray(img)) if isinstance(img, np.ndarray) else img, what)
    if image.shape[0] not in channels or image.numel() == 0:
        raise ValueError(
            f"{what}: the image{file_of(img)} has shape {tuple(image.shape)}, expected (C, H, W) with C "
            f"{' or '.join(map(str, channels))}; load it with FPTImageReader or convert it first."
        )
    low, high = (float(value) for value in torch.aminmax(image))
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # so worded, NaN is refused too
        raise ValueError(
            f"{what}: the image{file_of(img)} has values from {low:.4g} to {high:.4g}, outside [0, 1]; scale it first, "
            "and normalise last."
        )
    return image


def grey_plane(image: torch.Tensor) -> torch.Tensor:
    """(C, H, W) to its luma (H, W), ITU-R BT.601; a single channel is taken as it is."""
    if image.shape[0] == 1:
        return image[0]
    return torch.einsum("chw,c->hw", image, torch.tensor(_GREY))


def like_input(result: torch.Tensor, img: ImageLike) -> Any:
    """The result as what the input was: a MetaTensor with the input's metadata and trace, a tensor, or an array."""
    plain = result.as_tensor() if isinstance(result, MetaTensor) else result
    if isinstance(img, np.ndarray):
        return plain.cpu().numpy()
    if not isinstance(img, MetaTensor):
        return plain
    return result if isinstance(result, MetaTensor) else MetaTensor(plain).copy_meta_from(img)


def with_spacing(img: _Tensor, rows: float, columns: float, swapped: bool = False) -> _Tensor:
    """The image, its known pixel spacing (mm, rows and columns) multiplied; nothing where none is known.

    Args:
        img: a MetaTensor, changed in place, or a tensor.
        rows: factor of the distance of rows.
        columns: factor of the distance of columns.
        swapped: rows were columns before.
    """
    if isinstance(img, MetaTensor) and "spacing" in img.meta:
        spacing = np.asarray(img.meta["spacing"], dtype=np.float64)
        img.meta["spacing"] = (spacing[::-1] if swapped else spacing) * (rows, columns)
    return img


def file_of(img: ImageLike) -> str:
    """`` of 'a.png'`` where the metadata say so, for messages."""
    name = img.meta.get("filename_or_obj") if isinstance(img, MetaTensor) else None
    return f" of '{name}'" if isinstance(name, str) and name else ""


def kept_whole(what: str, img: ImageLike, reason: str, mend: str) -> None:
    """Warn, in one sentence, that an image is left as it is."""
    warnings.warn(f"{what}: {reason} in the image{file_of(img)}, so it is kept whole; {mend}.", stacklevel=3)


def image_library(module: str) -> ModuleType:
    """A module of scikit-image.

    Raises:
        ImportError: it is not installed; the text says how to.
    """
    try:
        return importlib.import_module(f"skimage.{module}")
    except ImportError as error:
        raise ImportError(
            "this transform needs scikit-image, which is not installed; install it with `pip install scikit-image`."
        ) from error
