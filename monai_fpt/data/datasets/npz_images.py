"""The images of a MedMNIST .npz file as PNG files and a table, one image after the other.

A .npz file is a zip archive of arrays. The arrays are read piece by piece, so 112,120 images of 224 x 224 need the
memory of one. Arrays of Python objects, which would have to be unpickled, are refused. The folder appears when every
image is written, with a note of the file it was made of; zipfile verifies the checksum of each array that is read to
its end.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format
from PIL import Image

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.datasets.npz_source import FPTNpzSource
from monai_fpt.data.datasets.unpack import is_empty_folder, whole_folder

__all__ = ["NPZ_PARTS", "unpack_npz"]

NPZ_PARTS = ("train", "val", "test")
_SHAPES = {1: 3, 3: 4}  # channels -> axes of the array of images


def unpack_npz(
    archive: Path, target: Path, *, size: int, channels: int, classes: Sequence[str], multilabel: bool, progress: bool
) -> None:
    """Write ``target/{train,val,test}/000000.png``, ``target/labels.csv`` and ``target/source.json``.

    The table has the columns image, split and label, or one column of 0 and 1 for each class where an image has
    several.

    Args:
        archive: the .npz file.
        target: the folder, which must not exist or be empty.
        size: height and width of the images in pixels.
        channels: 1 or 3.
        classes: names of the labels.
        multilabel: whether an image has several labels.
        progress: whether a bar is shown.

    Raises:
        RuntimeError: the file is broken or its arrays are not those of the subset, and nothing is left behind; or the
            folder is there and not empty.
    """
    if target.exists() and not is_empty_folder(target):
        raise RuntimeError(f"unpack: folder {str(target)!r} is there without a labels.csv; remove it, it is made anew.")
    try:
        source = FPTNpzSource.of(archive)
        with zipfile.ZipFile(archive) as opened, whole_folder(target) as hidden:
            with (hidden / "labels.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(["image", "split", *(classes if multilabel else ["label"])])
                for part in NPZ_PARTS:
                    labels = _labels(opened, part, len(classes), multilabel)
                    (hidden / part).mkdir()
                    images = _images(opened, f"{part}_images.npy", len(labels), size, channels)
                    bar = tqdm_bar(images, total=len(labels), desc=f"unpack {archive.name} {part}", progress=progress)
                    for number, pixels in enumerate(bar):
                        name = f"{part}/{number:06d}.png"
                        Image.fromarray(pixels).save(hidden / name)
                        marks = labels[number]
                        row = [int(value) for value in marks] if multilabel else [classes[int(marks[0])]]
                        table.writerow([name, part, *row])
            source.note(hidden)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RuntimeError(
            f"unpack: {str(archive)!r} cannot be unpacked ({reason}); remove it and get it again."
        ) from error


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array; ValueError for what is not a plain array in row order."""
    version = npy_format.read_magic(file)
    read = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"an array has format version {version}")
    shape, columns_first, kind = read(file)
    if kind.hasobject or (columns_first and len(shape) > 1):
        raise ValueError(f"an array is of type {kind}, {'by columns' if columns_first else 'by rows'}")
    return shape, kind


def _labels(opened: zipfile.ZipFile, part: str, classes: int, multilabel: bool) -> npt.NDArray[Any]:
    """(N, 1) class numbers or (N, K) zeros and ones."""
    with opened.open(f"{part}_labels.npy") as file:
        shape, kind = _array_header(file)
        values = np.frombuffer(file.read(), dtype=kind)
    labels = values.reshape(shape[0], -1)
    wanted = classes if multilabel else 1
    most = 1 if multilabel else classes - 1
    if labels.shape[1] != wanted or (labels.size and (labels.min() < 0 or labels.max() > most)):
        raise ValueError(
            f"labels of {part} are {shape} with values to {labels.max() if labels.size else 0}, not 0 to {most}"
        )
    return labels


def _images(
    opened: zipfile.ZipFile, name: str, number: int, size: int, channels: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Each image in turn, (H, W) or (H, W, 3)."""
    with opened.open(name) as file:
        shape, kind = _array_header(file)
        expected = (number, size, size) + ((channels,) if channels == 3 else ())
        if shape != expected or kind != np.uint8 or len(shape) != _SHAPES[channels]:
            raise ValueError(f"{name} is {shape} of {kind}, not {expected} of uint8")
        length = int(np.prod(shape[1:]))
        for _ in range(number):
            piece = file.read(length)
            if len(piece) != length:
                raise ValueError(f"{name} is shorter than its header says")
            yield np.frombuffer(piece, dtype=np.uint8).reshape(shape[1:])
        if file.read(1):  # reading to the end also verifies the checksum
            raise ValueError(f"{name} is longer than its header says")
