"""One image of any supported format as the eye sees it: (3, H, W), float32, 0 black and 1 white.

This is the only door by which pixels enter. MONAI's own loading chooses among readers that disagree: images come
transposed, MONOCHROME1 inverted or not by which library is installed, 16-bit grey clipped by a colour conversion.
Here every format has one reader and one meaning:

* rows are H, as Pillow and a viewer see them, so the images fit backbones that were pretrained elsewhere;
* grey is repeated to three channels, so every image fits every backbone;
* volumes and arrays are recognised by their suffix, DICOM by its magic or its suffix, everything else is given to
  Pillow, whatever its suffix says.

See :mod:`monai_fpt.data.raster`, :mod:`monai_fpt.data.dicom`, :mod:`monai_fpt.data.grey` and
:mod:`monai_fpt.data.volume` for the decisions of each family of formats.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from monai_fpt.data.dicom import has_dicom_magic, read_dicom
from monai_fpt.data.errors import ImageReadError, unreadable_image
from monai_fpt.data.facts import ImageFacts, ImageOptions, MedicalImage
from monai_fpt.data.raster import read_raster
from monai_fpt.data.volume import ARRAY_SUFFIXES, VOLUME_SUFFIXES, read_array, read_volume

__all__ = ["image_suffixes", "is_image_file", "load_medical_image", "read_medical_image"]

_DICOM_SUFFIXES = (".dcm", ".dicom")
_RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp")
_DEFAULTS = ImageOptions()


def image_suffixes() -> tuple[str, ...]:
    """File suffixes that are taken for images, lower case and with their dot."""
    return _RASTER_SUFFIXES + _DICOM_SUFFIXES + VOLUME_SUFFIXES + ARRAY_SUFFIXES


def is_image_file(path: str | Path) -> bool:
    """Whether a file looks like a supported image, by its suffix, or by how PNG, JPEG and DICOM begin.

    Hidden files (a leading dot, which covers the ``._`` companions macOS writes) are no images. The file is not
    decoded.

    Args:
        path: a file; a folder or a missing file is no image.

    Example:
        >>> is_image_file("missing.png")
        False
    """
    path = Path(path)
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.name.lower().endswith(image_suffixes()) or _has_image_magic(path)


def _has_image_magic(path: Path) -> bool:
    """Whether a file of another suffix, or of none, begins as PNG, JPEG or DICOM."""
    with path.open("rb") as file:
        start = file.read(132)
    return start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or start[128:] == b"DICM"


def load_medical_image(path: str | Path, options: ImageOptions | None = None) -> torch.Tensor:
    """Read the pixels of one image file.

    Args:
        path: see :func:`read_medical_image`.
        options: likewise.

    Returns:
        float32 (3, H, W) in [0, 1], contiguous. Rows are H; grey images have three equal channels.

    Raises:
        ImageReadError: see :func:`read_medical_image`.

    Example:
        >>> load_medical_image("missing.png")
        Traceback (most recent call last):
        ...
        monai_fpt.data.errors.ImageReadError: cannot read image 'missing.png': there is no such file; check the path.
    """
    return read_medical_image(path, options).pixels


def read_medical_image(path: str | Path, options: ImageOptions | None = None) -> MedicalImage:
    """Read the pixels of one image file and what is known of it.

    Args:
        path: a PNG, JPEG, TIFF, BMP, DICOM, NIfTI, NRRD, MetaImage or NumPy file.
        options: how it is read; the defaults of :class:`~monai_fpt.data.facts.ImageOptions` where absent.

    Returns:
        ``pixels``, float32 (3, H, W) in [0, 1], contiguous, rows H, grey in three equal channels; and ``facts``.

    Raises:
        ImageReadError: the file is missing, empty, truncated, of an unsupported kind, or holds several frames of which
            none is chosen; the text says which and how to mend it.
    """
    path = Path(path)
    options = _DEFAULTS if options is None else options
    if not path.is_file():
        raise unreadable_image(
            path, "it is a folder, not a file" if path.is_dir() else "there is no such file", "check the path"
        )
    again = "copy or export the file again, or leave it out of the data list"
    if path.stat().st_size == 0:
        raise unreadable_image(path, "the file is empty", again)
    try:
        pixels, facts = _reader_of(path)(path, options)
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise whatever they like on broken bytes
        text = " ".join(str(error).replace(str(path), path.name).split()).rstrip(".") or "no further detail"
        reason = f"it is broken, truncated or not of a supported format ({type(error).__name__}: {text})"
        raise unreadable_image(path, reason, again) from error
    return MedicalImage(_channels_first(torch.from_numpy(np.ascontiguousarray(pixels))), facts)


def _channels_first(pixels: torch.Tensor) -> torch.Tensor:
    """(H, W) or (H, W, 3), uint8 or float32 -> float32 (3, H, W). Bytes are moved before they are made floats."""
    grey = pixels.ndim == 2
    moved = pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()
    unit = moved.float().div_(255) if moved.dtype == torch.uint8 else moved
    return unit.expand(3, -1, -1).contiguous() if grey else unit


def _reader_of(path: Path) -> Callable[[Path, ImageOptions], tuple[npt.NDArray[Any], ImageFacts]]:
    name = path.name.lower()
    if name.endswith(VOLUME_SUFFIXES):
        return read_volume
    if name.endswith(ARRAY_SUFFIXES):
        return read_array
    return read_dicom if name.endswith(_DICOM_SUFFIXES) or has_dicom_magic(path) else read_raster
