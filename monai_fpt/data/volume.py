"""One slice of a NIfTI, NRRD or MetaImage volume, and NumPy arrays without pickle.

Decisions:

* A volume with directions is turned to the patient first: columns run to the patient's left, rows to the back (axial),
  or to the feet (coronal, sagittal), as a radiologist sees it and as DICOM stores it. Oblique volumes take the nearest
  axes. Which slice is meant is chosen as for frames (:mod:`monai_fpt.data.frames`), counted from the feet (axial), the
  front (coronal) or the patient's right (sagittal).
* Nothing in such a file says what is black and white but an unsigned type of 8 or 16 bits, whose range is taken. For
  everything else the caller chooses CT windows or a scale; guessing would stretch every image differently, in silence.
* ``range`` and ``percentile`` are those of the whole file, so slices of a volume stay comparable.
* Two-dimensional files lie as their library gives them: ITK's rows are rows; NIfTI's first axis is the columns.
* nibabel reads NIfTI, ITK the others; both are imported when such a file is met.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_fpt.data.errors import unreadable_image
from monai_fpt.data.facts import ImageFacts, ImageOptions
from monai_fpt.data.frames import chosen_frame
from monai_fpt.data.windows import hu_window

__all__ = ["ARRAY_SUFFIXES", "VOLUME_SUFFIXES", "read_array", "read_volume"]

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
ARRAY_SUFFIXES = (".npy", ".npz")
_AXES = {  # plane -> target orientation of (rows, columns, slices): P to the back, L to the left, S to the head, I to the feet
    "axial": ("P", "L", "S"),
    "coronal": ("I", "L", "P"),
    "sagittal": ("I", "P", "L"),
}
_Array = npt.NDArray[Any]


def read_volume(path: Path, options: ImageOptions) -> tuple[npt.NDArray[np.float32], ImageFacts]:
    """Read one slice of a volume.

    Args:
        path: a NIfTI, NRRD or MetaImage file.
        options: ``frame``, ``plane``, ``windows`` and ``scale`` are read.

    Returns:
        float32 in [0, 1], (H, W) for grey or (H, W, 3) for colour and for three windows; and the facts.

    Raises:
        ImageReadError: the file has four or more dimensions, several slices of which none is chosen, or values without
            a known black and white.
        Exception: whatever nibabel or ITK raises on a broken file; the caller words it.
    """
    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    array, affine, colour = _load_nifti(path) if nifti else _load_itk(path)
    if array.ndim != 3 + colour or (colour and array.shape[3] != 3):
        raise unreadable_image(
            path, f"it holds an array of shape {array.shape}, not one volume", "save one volume or image a file"
        )
    array, spacing = _turned(array, affine, options.plane) if affine is not None else (array, (0.0, 0.0))
    frame = chosen_frame(path, array.shape[2], options.frame, f"{options.plane} slices")
    pixels = _unit_values(array, array[:, :, frame], options, path)
    if not np.isfinite(pixels).all():
        raise unreadable_image(path, "it holds values that are not numbers (NaN)", "repair it, or leave it out")
    kind = "NIFTI" if nifti else "META" if path.suffix.lower().startswith(".m") else "NRRD"
    return pixels, _facts_of_array(array, kind, array.shape[2], frame, spacing)


def read_array(path: Path, options: ImageOptions) -> tuple[npt.NDArray[np.float32], ImageFacts]:
    """Read a NumPy file; arrays of objects are refused, nothing is unpickled.

    Args:
        path: a .npy file, or a .npz file of one array: (H, W), (H, W, 1 or 3), or (1 or 3, H, W).
        options: ``windows`` and ``scale`` are read.

    Returns:
        float32 in [0, 1], (H, W) or (H, W, 3); and the facts. Floats are taken as they are where they lie in [0, 1].

    Raises:
        ImageReadError: another shape, or values without a known black and white.
        Exception: whatever NumPy raises on a broken file; the caller words it.
    """
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            if len(loaded.files) != 1:
                raise unreadable_image(
                    path, f"it holds {len(loaded.files)} arrays, {', '.join(loaded.files[:5])}", "save one array a file"
                )
            loaded = loaded[loaded.files[0]]
    array: _Array = loaded
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    doubtful = loaded.ndim == 3 and sum(size in (1, 3) for size in loaded.shape) > 1
    if array.ndim not in (2, 3) or doubtful or (array.ndim == 3 and array.shape[2] != 3):
        raise unreadable_image(
            path,
            f"its shape {loaded.shape} is not clearly that of one image",
            "save it as (H, W) or (H, W, 3), one image a file",
        )
    if array.dtype.kind == "f" and array.size and options.scale == "type" and not options.windows:
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:
            return array.astype(np.float32), _facts_of_array(array, "NUMPY", 1, 0, (0.0, 0.0))
    return _unit_values(array, array, options, path), _facts_of_array(array, "NUMPY", 1, 0, (0.0, 0.0))


def _load_nifti(path: Path) -> tuple[_Array, _Array | None, bool]:
    """(I, J, K[, 3]), its affine to patient coordinates (right, front, head positive: RAS), and whether it is colour.

    A fourth axis is time unless the file's type is RGB.
    """
    import nibabel

    image: Any = nibabel.load(path)
    array = np.asarray(image.dataobj)
    array = array[..., None] if array.ndim == 2 else array
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    samples = array.dtype.names or ()  # of RGB24 and RGBA32
    if samples:
        array = np.stack([array[name] for name in samples[:3]], axis=-1)
    return array, np.asarray(image.affine), bool(samples)


def _load_itk(path: Path) -> tuple[_Array, _Array | None, bool]:
    """(I, J, K[, 3]), its affine (RAS), and whether it is colour; of a two-dimensional image (rows, columns, 1[, 3]) and
    None for the affine."""
    import itk

    image = itk.imread(str(path))
    array = np.asarray(itk.array_view_from_image(image)).copy()  # slices, rows, columns[, components]
    dimension = image.GetImageDimension()
    components = array.shape[dimension:]
    colour = len(components) == 1
    if dimension == 2:
        return array[:, :, None], None, colour
    array = array.transpose(*range(dimension - 1, -1, -1), *range(dimension, array.ndim))
    if dimension != 3 or len(components) > 1:
        return array, None, colour
    spacing, origin = np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin())
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * spacing
    affine[:3, 3] = origin
    return array, np.diag([-1, -1, 1, 1]) @ affine, colour  # ITK's left and back are positive


def _turned(array: _Array, affine: _Array, plane: str) -> tuple[_Array, tuple[float, float]]:
    """The volume as (rows, columns, slices[, 3]) of a plane, and the distances of rows and columns in mm."""
    from nibabel import orientations as directions

    orientations: Any = directions

    current = orientations.io_orientation(affine)
    if np.isnan(current).any():
        raise ValueError("its directions do not span three axes")
    wanted = orientations.axcodes2ornt(_AXES[plane])
    turned = orientations.apply_orientation(array, orientations.ornt_transform(current, wanted))
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    along = {int(world): float(sizes[axis]) for axis, (world, _) in enumerate(current)}
    rows, columns = (along[int(axis)] for axis in wanted[:2, 0])
    return np.asarray(turned), (rows, columns)


def _unit_values(whole: _Array, part: _Array, options: ImageOptions, path: Path) -> npt.NDArray[np.float32]:
    """A slice of the file's values in [0, 1]."""
    if part.size == 0:
        raise unreadable_image(path, f"its shape {whole.shape} is empty", "leave it out of the data list")
    colour = part.ndim == 3
    if options.windows and not colour:
        channels = [hu_window(part, *window) for window in options.windows]
        return channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    if part.dtype.kind not in "buif":
        raise unreadable_image(
            path, f"its values are of type {part.dtype}, not numbers", "save it as integers or floats"
        )
    if options.scale == "type":
        whites = {"b1": 1.0, "u1": 255.0, "u2": 65535.0}
        white = whites.get(part.dtype.str[1:])
        if white is None:
            raise unreadable_image(
                path,
                f"its values are of type {part.dtype}, from {whole.min():g} to {whole.max():g}, whose black and white are "
                "unknown",
                "set the reader's windows (CT in HU, for example ['soft_tissue']), or its scale to 'range' or 'percentile'",
            )
        divided: npt.NDArray[np.float32] = np.true_divide(part, np.float32(white), dtype=np.float32)
        return divided
    ends = (0.0, 100.0) if options.scale == "range" else (0.5, 99.5)
    low, high = (float(value) for value in np.percentile(whole.astype(np.float64), ends))
    if not np.isfinite([low, high]).all():
        raise unreadable_image(path, "it holds values that are not numbers (NaN or infinite)", "repair or leave it out")
    if high <= low:
        return np.zeros(part.shape, dtype=np.float32)
    unit: npt.NDArray[np.float32] = np.clip((part.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    return unit


def _facts_of_array(array: _Array, kind: str, frames: int, frame: int, spacing: tuple[float, float]) -> ImageFacts:
    return ImageFacts(
        format=kind,
        height=int(array.shape[0]),
        width=int(array.shape[1]),
        frames=frames,
        frame=frame,
        bits=8 * array.dtype.itemsize,
        photometric=str(array.dtype),
        spacing=spacing,
    )
