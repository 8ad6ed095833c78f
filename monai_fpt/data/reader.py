"""The image door as a MONAI reader, for ``LoadImaged`` and what is built on it.

``LoadImage`` tries the reader it was given and, when that raises in ``read``, silently goes on to every other reader
it knows; a broken or multi-frame DICOM would then come from another library, transposed. An exception in ``get_data``
is passed on. So ``read`` only takes note of the path, and ``get_data`` reads. The pixels come channel first and say
so in their metadata, hence ``EnsureChannelFirstd`` changes nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import ImageReader

from monai_fpt.data.image import is_image_file, load_medical_image

__all__ = ["FPTImageReader"]

# MONAI's LoadImage builds every reader it knows, and its GPU reader complains where nvImageCodec is not installed.
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

_FileOrFiles = Sequence["PathLike[str] | str"] | PathLike[str] | str


class FPTImageReader(ImageReader):  # type: ignore[misc]
    """Read images for MONAI's ``LoadImage`` exactly as :func:`~monai_fpt.data.image.load_medical_image` does.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys="image", reader=FPTImageReader())  # {"image": path} -> {"image": (3, H, W)}
        >>> load = LoadImaged(keys="image", reader="monai_fpt.data.FPTImageReader")  # the same in a bundle's config
    """

    def __init__(self) -> None:
        self.version = 1  # of the pixels: part of what a feature cache is made with

    def verify_suffix(self, filename: _FileOrFiles) -> bool:
        """Whether every file looks like a supported image."""
        return all(is_image_file(name) for name in _as_paths(filename))

    def read(self, data: _FileOrFiles, **kwargs: Any) -> list[Path]:
        """Take note of the files; nothing is opened yet, see the module's story.

        Args:
            data: one path, or a sequence of one.
            kwargs: none are known; the parameter belongs to MONAI's signature.

        Raises:
            TypeError: an unknown keyword was given.
        """
        if kwargs:
            raise TypeError(f"FPTImageReader.read knows no option {sorted(kwargs)}; remove it.")
        return _as_paths(data)

    def get_data(self, img: list[Path]) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Read the file that :meth:`read` took note of.

        Returns:
            float32 (3, H, W) in [0, 1] and its metadata: ``original_channel_dim`` 0, ``spatial_shape`` (H, W).

        Raises:
            ImageReadError: the file cannot be read.
            ValueError: more than one file was given.
        """
        if len(img) != 1:
            raise ValueError(f"FPTImageReader reads one file an image, got {len(img)}; give each image its own item.")
        pixels = load_medical_image(img[0]).numpy()
        return pixels, {"original_channel_dim": 0, "spatial_shape": np.asarray(pixels.shape[1:])}


def _as_paths(files: _FileOrFiles) -> list[Path]:
    """One or several file names as a list of paths."""
    if isinstance(files, (str, PathLike)):
        return [Path(files)]
    return [Path(fspath(name)) for name in files]
