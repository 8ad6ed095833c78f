"""The image door as a MONAI reader, and the loading transform for files of several frames.

``LoadImage`` tries the reader it was given and, when that raises in ``read``, silently goes on to every other reader
it knows; a broken or multi-frame DICOM would then come from another library, transposed. An exception in ``get_data``
is passed on. So ``read`` only takes note of the path, and ``get_data`` reads. The pixels come channel first and say
so in their metadata, hence ``EnsureChannelFirstd`` changes nothing.

The metadata holds the patient's key, so that a data set can be grouped by it; nothing of this package logs it.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Hashable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImaged

from monai_fpt.data.facts import ImageOptions
from monai_fpt.data.image import is_image_file, read_medical_image

__all__ = ["FPTImageReader", "FPTLoadImaged"]

# MONAI's LoadImage builds every reader it knows, and its GPU reader complains where nvImageCodec is not installed.
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

_FileOrFiles = Sequence["PathLike[str] | str"] | PathLike[str] | str


class FPTImageReader(ImageReader):  # type: ignore[misc]
    """Read images for MONAI's ``LoadImage`` exactly as :func:`~monai_fpt.data.image.read_medical_image` does.

    Args:
        voi: see :class:`~monai_fpt.data.facts.ImageOptions` for this and all others.
        windows: CT windows in HU.
        frame: of files of several.
        plane: of the slices of volumes.
        scale: of volumes and arrays.
        min_size: reduced decoding of JPEG files.

    Raises:
        ValueError: an option that cannot be.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys="image", reader=FPTImageReader())  # {"image": path} -> {"image": (3, H, W)}
        >>> load = LoadImaged(keys="image", reader="monai_fpt.data.FPTImageReader")  # the same in a bundle's config
        >>> ct = FPTImageReader(windows=["lung", "soft_tissue", "bone"], frame="middle")
    """

    def __init__(
        self,
        voi: str = "auto",
        windows: Sequence[Any] | str = (),
        frame: int | str | None = None,
        plane: str = "axial",
        scale: str = "type",
        min_size: int | None = None,
    ) -> None:
        self.version = 2  # of the pixels: part of what a feature cache is made with
        self.options = ImageOptions(
            voi, tuple([windows] if isinstance(windows, str) else windows), frame, plane, scale, min_size
        )

    def of_frame(self, frame: int | str) -> FPTImageReader:
        """The same reader for another frame."""
        return FPTImageReader(**{**vars(self.options), "frame": frame})

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
            float32 (3, H, W) in [0, 1] and its metadata: ``original_channel_dim`` 0, ``spatial_shape`` (H, W), and the
            fields of :class:`~monai_fpt.data.facts.ImageFacts`, ``spacing`` as an array.

        Raises:
            ImageReadError: the file cannot be read.
            ValueError: more than one file was given.
        """
        if len(img) != 1:
            raise ValueError(f"FPTImageReader reads one file an image, got {len(img)}; give each image its own item.")
        image = read_medical_image(img[0], self.options)
        pixels = image.pixels.numpy()
        facts = dataclasses.asdict(image.facts) | {"spacing": np.asarray(image.facts.spacing)}
        return pixels, {"original_channel_dim": 0, "spatial_shape": np.asarray(pixels.shape[1:])} | facts


class FPTLoadImaged(LoadImaged):  # type: ignore[misc]
    """``LoadImaged`` with our reader, for data lists whose items may name a frame or slice of their file.

    Args:
        keys: keys of the image files.
        reader: how they are read; the defaults of :class:`FPTImageReader` where absent.
        frame_key: key of the frame's number; an item without it is read as the reader's own ``frame`` says.
        image_only: leave the metadata in the MetaTensor; see MONAI.
        allow_missing_keys: skip keys that are absent.

    Example:
        >>> load = FPTLoadImaged("image")  # {"image": "scan.nii.gz", "frame": 12} -> {"image": (3, H, W), "frame": 12}
    """

    def __init__(
        self,
        keys: KeysCollection,
        reader: FPTImageReader | None = None,
        frame_key: str = "frame",
        image_only: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        self.reader = FPTImageReader() if reader is None else reader
        self.frame_key = frame_key
        super().__init__(keys, reader=self.reader, image_only=image_only, allow_missing_keys=allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict[Hashable, Any]:
        """Load the images of one item.

        Raises:
            ImageReadError: within MONAI's own error, a file cannot be read.
        """
        frame = data.get(self.frame_key)
        if frame is not None and reader is None:
            reader = self.reader.of_frame(int(frame))
        loaded: dict[Hashable, Any] = super().__call__(data, reader)
        return loaded


def _as_paths(files: _FileOrFiles) -> list[Path]:
    """One or several file names as a list of paths."""
    if isinstance(files, (str, PathLike)):
        return [Path(files)]
    return [Path(fspath(name)) for name in files]
