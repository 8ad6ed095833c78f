"""One image of any supported format as the eye sees it: (3, H, W), float32, 0 black and 1 white.

This is the only door by which pixels enter. MONAI's own loading chooses among readers that disagree: images come
transposed, MONOCHROME1 inverted or not by which library is installed, 16-bit grey clipped by a colour conversion.
Here every format has one reader and one meaning:

* rows are H, as Pillow and a viewer see them, so the images fit backbones that were pretrained elsewhere;
* grey is repeated to three channels, so every image fits every backbone;
* DICOM is recognised by its magic or its suffix, everything else is given to Pillow, whatever its suffix says.

See :mod:`monai_fpt.data.raster` and :mod:`monai_fpt.data.dicom` for the decisions of each family of formats.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monai_fpt.data.dicom import has_dicom_magic, read_dicom
from monai_fpt.data.errors import ImageReadError, unreadable_image
from monai_fpt.data.raster import read_raster

__all__ = ["image_suffixes", "is_image_file", "load_medical_image"]

_DICOM_SUFFIXES = (".dcm", ".dicom")
_RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp")


def image_suffixes() -> tuple[str, ...]:
    """File suffixes that are taken for images, lower case and with their dot."""
    return _RASTER_SUFFIXES + _DICOM_SUFFIXES


def is_image_file(path: str | Path) -> bool:
    """Whether a file looks like a supported image, by its suffix or by the DICOM magic.

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
    return path.suffix.lower() in image_suffixes() or has_dicom_magic(path)


def load_medical_image(path: str | Path) -> torch.Tensor:
    """Read one image file.

    Args:
        path: a PNG, JPEG, TIFF, BMP or single-frame DICOM file.

    Returns:
        float32 (3, H, W) in [0, 1], contiguous. Rows are H; grey images have three equal channels.

    Raises:
        ImageReadError: the file is missing, empty, truncated or of an unsupported kind; the text says which and how
            to mend it.

    Example:
        >>> load_medical_image("missing.png")
        Traceback (most recent call last):
        ...
        monai_fpt.data.errors.ImageReadError: cannot read image 'missing.png': there is no such file; check the path.
    """
    path = Path(path)
    if not path.is_file():
        raise unreadable_image(
            path, "it is a folder, not a file" if path.is_dir() else "there is no such file", "check the path"
        )
    again = "copy or export the file again, or leave it out of the data list"
    if path.stat().st_size == 0:
        raise unreadable_image(path, "the file is empty", again)
    try:
        is_dicom = path.suffix.lower() in _DICOM_SUFFIXES or has_dicom_magic(path)
        pixels = read_dicom(path) if is_dicom else read_raster(path)
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise whatever they like on broken bytes
        text = " ".join(str(error).split()).rstrip(".") or "no further detail"
        reason = f"it is broken, truncated or not of a supported format ({type(error).__name__}: {text})"
        raise unreadable_image(path, reason, again) from error
    grey = pixels.ndim == 2
    rows_columns_channels = torch.from_numpy(np.ascontiguousarray(pixels[..., None] if grey else pixels))
    channels_first = rows_columns_channels.permute(2, 0, 1)  # (H, W, C) -> (C, H, W)
    return (channels_first.expand(3, -1, -1) if grey else channels_first).contiguous()
