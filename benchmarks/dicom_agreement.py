"""Our DICOM pixels beside highdicom's, file by file: ``python -m benchmarks.dicom_agreement FILE_OR_FOLDER... [--markdown]``.

highdicom is the independent source: it applies modality and VOI transforms and the presentation inversion by code of its
own. Files with a VOI are compared as both show them (``voi="always"``, for ``auto`` deliberately passes over some
windows); files without one are given by highdicom in modality units and are brought to [0, 1] here by the range that our
documentation states. Where highdicom cannot read a file, or differs, a second source decides: pydicom's own modality and
VOI functions for grey, ITK for colour. Without arguments the files of pydicom and, where installed, of pydicom-data are
taken.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pydicom.data

from monai_fpt.data import ImageReadError, load_medical_image
from monai_fpt.data.facts import ImageOptions

LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"}
PALETTE_TOLERANCE = 1.01 / 255  # ITK keeps the upper 8 of a palette's 16 bits
EXACT, LOSSY_TOLERANCE = 1e-6, 2.01 / 255  # decoders round lossy JPEG differently, YBR to RGB once more


@dataclass(frozen=True)
class Agreement:
    """One file: ``verdict`` is ``equal``, ``equal within rounding``, ``refused``, ``equal to pydicom``, ``equal to ITK`` or
    ``differs``; ``detail`` says how much, or why."""

    file: str
    syntax: str
    photometric: str
    bits: str
    frames: int
    verdict: str
    detail: str


def oracle_pixels(path: Path, dataset: Any, frame: int) -> np.ndarray[Any, Any]:
    """What highdicom shows of a frame (from 0), in [0, 1]; (H, W) or (H, W, 3)."""
    image = highdicom.imread(path)
    colour = dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR"
    if colour:
        shown = image.get_frame(frame + 1, apply_icc_profile=False)
        white = np.iinfo(shown.dtype).max if dataset.SamplesPerPixel == 1 else 2**dataset.BitsStored - 1
        return np.asarray(shown, dtype=np.float64) / white
    with_voi = image.get_frame(frame + 1, apply_voi_transform=None, apply_presentation_lut=True, dtype=np.float64)
    if _has_voi(dataset):
        return np.asarray(with_voi)
    low, high = _range_of(dataset, with_voi)
    return np.asarray((with_voi - low) / (high - low) if high > low else with_voi * 0)


def _range_of(dataset: Any, values: Any) -> tuple[float, float]:
    """Black and white of modality values: of the table's bits, of the values themselves where they are signed, of Bits
    Stored."""
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    if dataset.PixelRepresentation == 1 and not _has_voi(dataset):
        return float(values.min()), float(values.max())
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation == 1 else 0
    return lowest * slope + intercept, (lowest + 2**dataset.BitsStored - 1) * slope + intercept


def _has_voi(dataset: Any) -> bool:
    """Whether the file, or the frames of an enhanced one, have a table or a window."""
    groups = [
        *dataset.get("SharedFunctionalGroupsSequence", [])[:1],
        *dataset.get("PerFrameFunctionalGroupsSequence", [])[:1],
    ]
    return (
        bool(dataset.get("VOILUTSequence"))
        or dataset.get("WindowCenter") not in (None, "")
        or any(group.get("FrameVOILUTSequence") for group in groups)
    )


def compare(path: Path) -> Agreement:
    """Read a file by both and say how they agree."""
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    meta = getattr(dataset, "file_meta", {})
    syntax = meta.get("TransferSyntaxUID")
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
    except ValueError:
        frames = 0
    facts = (
        path.name,
        "none" if syntax is None else str(syntax.name),
        str(dataset.get("PhotometricInterpretation", "none")),
        "/".join(str(dataset.get(tag, "-")) for tag in ("BitsAllocated", "BitsStored", "PixelRepresentation")),
        frames,
    )
    try:
        frame = frames - 1 if frames > 1 else None  # of several the last, whose own tags are easily missed
        ours = load_medical_image(path, ImageOptions(voi="always", frame=frame)).numpy().transpose(1, 2, 0)
    except ImageReadError as error:
        return Agreement(*facts, "refused", str(error).split(": ", 1)[1])
    try:
        largest = _largest_difference(ours, oracle_pixels(path, dataset, frame or 0))
        if largest <= EXACT:
            return Agreement(*facts, "equal", f"largest difference {largest:.1e}")
        if str(syntax) in LOSSY and largest <= LOSSY_TOLERANCE:
            return Agreement(*facts, "equal within rounding", f"lossy, largest difference {largest * 255:.1f}/255")
        said = f"highdicom differs by up to {largest:.2g}"
    except Exception as error:  # whatever highdicom raises
        said = f"highdicom: {type(error).__name__}: {' '.join(str(error).split())[:80]}"
    try:
        if frame is not None:
            return Agreement(*facts, "no second source", said)
        name, second = second_pixels(path)
    except Exception as error:  # whatever ITK or pydicom raises
        return Agreement(
            *facts, "no second source", f"{said}; {type(error).__name__}: {' '.join(str(error).split())[:60]}"
        )
    largest = _largest_difference(ours, second)
    allowed = PALETTE_TOLERANCE if facts[2] == "PALETTE COLOR" else EXACT
    return Agreement(*facts, f"equal to {name}" if largest <= allowed else "differs", f"up to {largest:.1e}; {said}")


def _largest_difference(ours: Any, theirs: Any) -> float:
    theirs = theirs if theirs.ndim == 3 else theirs[..., None]
    return float(np.abs(ours - theirs).max()) if theirs.shape[:2] == ours.shape[:2] else float("inf")


def second_pixels(path: Path) -> tuple[str, np.ndarray[Any, Any]]:
    """Name and pixels in [0, 1] of the second source."""
    dataset = pydicom.dcmread(path, force=True)
    if dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        import itk

        shown = np.asarray(itk.array_from_image(itk.imread(str(path))))
        return "ITK", shown.reshape(shown.shape[-3:]).astype(np.float64) / np.iinfo(shown.dtype).max
    stored = dataset.pixel_array
    stored = stored.astype(stored.dtype.newbyteorder("="))  # pydicom's functions mistake big-endian arrays
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    values = pydicom.pixels.apply_modality_lut(stored, dataset)
    if _has_voi(dataset):
        values = pydicom.pixels.apply_voi_lut(values, dataset)
    low, high = _range_of(dataset, values)
    unit = (values - low) / (high - low) if high > low else values * 0.0
    return "pydicom", 1 - unit if dataset.PhotometricInterpretation == "MONOCHROME1" else unit


def dicom_files(places: Iterable[str | Path]) -> Iterator[Path]:
    """Files below the places, sorted; pydicom's own where none are given."""
    given = [Path(place) for place in places]
    if not given:
        given = [Path(pydicom.data.__file__).parent / "test_files"]
        try:
            import data_store

            given.append(Path(data_store.__file__).parent / "data")
        except ImportError:
            pass
    for place in given:
        yield from sorted(place.rglob("*.dcm")) if place.is_dir() else [place]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where a file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="*")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    rows = [compare(path) for path in dicom_files(options.places)]
    for row in rows:
        cells = (
            row.file,
            row.syntax,
            row.photometric,
            row.bits,
            str(row.frames),
            row.verdict,
            row.detail.replace("|", "/"),
        )
        print("| " + " | ".join(cells) + " |" if options.markdown else "  ".join(cells))
    counts = {
        verdict: sum(row.verdict == verdict for row in rows) for verdict in dict.fromkeys(row.verdict for row in rows)
    }
    print("\n" + ", ".join(f"{verdict}: {count}" for verdict, count in counts.items()))
    return int(counts.get("differs", 0) > 0)


if __name__ == "__main__":
    sys.exit(main())
