"""A map on the network's square, laid back onto the file it came from, and written as clients read it.

Between a file and the square lie the reader (which turns a photograph upright as its EXIF says), the model's preparation
(crops, mirrors, pads) and the resize. Here the way is gone back, step by step:

    (rows, columns) of tokens ─ resize ─► prepared image ─ inverses of the preparation ─► image as read ─ EXIF ─► file's own pixels

Decisions:

- Size, spacing, origin and direction are what ITK itself reads of the file, for 3D Slicer reads with ITK. A label map is a
  volume of one slice (or of as many as the file has frames), since clients take no two-dimensional segmentation.
- A preparation that moves pixels and cannot be undone is refused by name, so a map is never laid on other pixels than
  those it is about. What may stand in a preparation without an inverse is listed: it changes values, not places.
- Slices of volumes (NIfTI, NRRD, MetaImage) and arrays are refused: they are read turned, and have no place in the file that
  ITK knows without that turn.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from PIL import Image
from torch import Tensor

from monai_fpt.data import FPTImageReader, FPTLoadImaged
from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.errors import innermost
from monai_fpt.transforms import fpt_transforms
from monai_fpt.visualize import resize_heat

__all__ = ["LABEL_MAP_SUFFIXES", "FileGeometry", "file_geometry", "heat_on_file", "write_label_map"]

LABEL_MAP_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha", ".png")
_TURNED = ("NIFTI", "NRRD", "META", "NUMPY")
_ORIENTATION = 0x0112
_TURNED_BACK = {  # EXIF orientation -> from upright to stored
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_PLACES_KEPT = {  # of fpt_transforms: values change, places do not
    "AdjustContrast",
    "CastToType",
    "ClipIntensityPercentiles",
    "EnsureChannelFirst",
    "EnsureType",
    "FPTBenGraham",
    "FPTCircleMask",
    "FPTClahe",
    "FPTGreyToRGB",
    "FPTPercentileScale",
    "FPTShadesOfGray",
    "FPTWindow",
    "GaussianSharpen",
    "GaussianSmooth",
    "HistogramNormalize",
    "Identity",
    "MaskIntensity",
    "MedianSmooth",
    "NormalizeIntensity",
    "RepeatChannel",
    "ScaleIntensity",
    "ScaleIntensityRange",
    "ScaleIntensityRangePercentiles",
    "ShiftIntensity",
    "StdShiftIntensity",
    "ThresholdIntensity",
    "ToTensor",
}


@dataclasses.dataclass(frozen=True)
class FileGeometry:
    """Where the pixels of a file lie, as ITK reads it.

    Attributes:
        size: columns, rows and slices.
        spacing: mm between them.
        origin: of the first pixel, mm, LPS.
        direction: (3, 3), axes in columns.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...]


def file_geometry(path: str | Path) -> FileGeometry:
    """Read the geometry of an image file; its pixels are not decoded.

    Raises:
        ValueError: ITK does not read this kind of file.
    """
    import SimpleITK as sitk  # the server imports it anyway; Python's itk takes some seconds more

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(
            f'The library that viewers read with (ITK) does not read "{Path(path).name}", so no map can be laid on it; convert it to '
            "PNG or DICOM."
        ) from error
    dims = reader.GetDimension()
    if dims > 3:
        raise ValueError(
            f'"{Path(path).name}" has {dims} dimensions, so no map can be laid on it; convert it to PNG or DICOM.'
        )
    lacking = 3 - dims
    size = [*reader.GetSize(), *[1] * lacking]
    spacing = [*reader.GetSpacing(), *[1.0] * lacking]
    origin = [*reader.GetOrigin(), *[0.0] * lacking]
    direction = np.eye(3)
    direction[:dims, :dims] = np.array(reader.GetDirection()).reshape(dims, dims)
    return FileGeometry(
        (size[0], size[1], size[2]),
        (spacing[0], spacing[1], spacing[2]),
        (origin[0], origin[1], origin[2]),
        tuple((float(row[0]), float(row[1]), float(row[2])) for row in direction),
    )


def heat_on_file(heat: Tensor, path: str | Path, card: FPTModelCard) -> tuple[npt.NDArray[np.float32], int]:
    """A map of tokens on the pixels of the file as they are stored.

    Args:
        heat: (rows, columns) in [0, 1], on the square that the network read.
        path: the image's file.
        card: of the model: how the file was read and prepared.

    Returns:
        float32 (H, W) in [0, 1], 0 where the preparation cut the image off; and the frame of the file that was read.

    Raises:
        ImageReadError: the file cannot be read.
        ValueError: the way back is not known.
    """
    chain = _way_back(card)
    try:
        item: dict[Any, Any] = FPTLoadImaged("image", FPTImageReader(**card.reader))({"image": str(path)})
    except Exception as error:
        raise innermost(error) from error
    facts = dict(item["image"].meta)
    if facts["format"] in _TURNED:
        raise ValueError(
            f"No map can be laid on a slice of a {facts['format']} file; store the slices as DICOM or PNG."
        )
    for transform in chain:
        item = transform(item)
    prepared = item["image"]
    laid: Any = MetaTensor(resize_heat(heat, (prepared.shape[-2], prepared.shape[-1]))[None])
    laid.applied_operations = prepared.applied_operations
    laid.affine = prepared.affine
    item = {"image": laid}
    for transform in reversed(chain):
        if isinstance(transform, InvertibleTransform):
            item = transform.inverse(item)
    upright = torch.as_tensor(item["image"]).as_subclass(Tensor)[0].clamp(0, 1)
    wanted = (int(facts["height"]), int(facts["width"]))
    if card.reader.get("min_size"):  # the file was decoded smaller than it is
        upright = resize_heat(upright, wanted)
    if tuple(upright.shape) != wanted:
        raise ValueError(
            f"The way back through the model's preparation gives {tuple(upright.shape)} pixels instead of {wanted}, so no map can be laid "
            "on the file; use transforms that can be inverted."
        )
    stored = _as_stored(upright.numpy().astype(np.float32), Path(path), str(facts["format"]))
    return stored, int(facts["frame"])


def write_label_map(
    values: npt.NDArray[np.uint8], geometry: FileGeometry, target: str | Path, frame: int = 0, compress: bool = False
) -> None:
    """Write a label map in the place of the file's pixels.

    Args:
        values: (H, W).
        geometry: of the file.
        target: with one of :data:`LABEL_MAP_SUFFIXES`. ``.png`` has pixels only.
        frame: which slice of the file it is of.
        compress: where the format can.

    Raises:
        ValueError: the map is of another size than the file, or the suffix is not known.
    """
    target = Path(target)
    columns, rows, slices = geometry.size
    if values.shape != (rows, columns) or not 0 <= frame < slices:
        raise ValueError(
            f"A map of {values.shape} pixels does not fit the file's {slices} slice(s) of {(rows, columns)}; it is not written."
        )
    if not target.name.endswith(LABEL_MAP_SUFFIXES):
        raise ValueError(
            f'A label map is not written as "{target.suffix}"; ask for one of {", ".join(LABEL_MAP_SUFFIXES)}.'
        )
    if target.suffix == ".png":
        Image.fromarray(values).save(target)
        return
    import SimpleITK as sitk

    volume = np.zeros((slices, rows, columns), dtype=np.uint8)
    volume[frame] = values
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection([value for row in geometry.direction for value in row])
    sitk.WriteImage(image, str(target), compress)


def _way_back(card: FPTModelCard) -> list[Any]:
    """The transforms of a model's preparation.

    Raises:
        ValueError: one of them moves pixels and has no inverse.
    """
    chain = fpt_transforms(card.preparing)
    for transform in chain:
        if not isinstance(transform, InvertibleTransform) and _plain_name(transform) not in _PLACES_KEPT:
            raise ValueError(
                f"The model's preparation has {type(transform).__name__}, which may move pixels and cannot be undone, so no map can be "
                "laid on the file."
            )
    return chain


def _plain_name(transform: Any) -> str:
    name = type(transform).__name__
    return name[:-1] if name.endswith(("d", "D")) and name[:-1] in _PLACES_KEPT else name.removesuffix("Dict")


def _as_stored(upright: npt.NDArray[np.float32], path: Path, kind: str) -> npt.NDArray[np.float32]:
    """What the reader turned upright, as the file has it: viewers that read with ITK do not look at EXIF."""
    if kind == "DICOM":
        return upright
    with Image.open(path) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation in (None, 0, 1):
        return upright
    if kind == "TIFF" or orientation not in _TURNED_BACK:
        raise ValueError(
            f'"{path.name}" is stored turned (orientation {orientation}), which viewers show differently; save it upright to see a map on it.'
        )
    return np.ascontiguousarray(np.asarray(Image.fromarray(upright).transpose(_TURNED_BACK[orientation])))
