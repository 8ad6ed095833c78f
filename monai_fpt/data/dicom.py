"""One single-frame DICOM file by pydicom: the pixels as a viewer shows them.

The grey pipeline of the standard (PS3.3 C.11.1 and C.11.2, PS3.4 N.2) runs in its order: stored values, modality
look-up table or rescale, then the value-of-interest (VOI) table or window, then the inversion of MONOCHROME1.
Decisions:

* Both kinds of VOI present: the table wins, the first of several windows or tables is taken, as pydicom does.
* The result is scaled by the range of the VOI output (a window maps to 0..1 by definition, a table by its bits).
* Without a VOI there is nothing that says what was meant to be seen. Unsigned pixels are then scaled by the full
  range of Bits Stored after the modality step, so that images of one series stay comparable (as with 16-bit PNG).
  Signed pixels (CT, typically) would all become the same middle grey that way and are scaled by the image's own
  smallest and largest value.
* Look-up tables and windows are computed here and not by pydicom, whose table look-up wraps around where a table of
  8-bit entries is longer than 256. pydicom decodes, and resolves palettes and YBR. Works with pydicom 2.4 and 3.
* Presentation LUT Shape is not applied again: it repeats what MONOCHROME1 and MONOCHROME2 say.
* Not done: masking of pixel padding, overlays, colour profiles, pixel aspect ratio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from monai_fpt.data.errors import unreadable_image

try:
    from pydicom.pixels import apply_color_lut, convert_color_space, get_decoder
except ImportError:  # pydicom 2.4
    from pydicom.pixel_data_handlers.util import apply_color_lut, convert_color_space

    get_decoder = None

__all__ = ["grey_window", "has_dicom_magic", "read_dicom"]


def has_dicom_magic(path: Path) -> bool:
    """Whether the file begins with the DICOM preamble (``DICM`` after 128 bytes)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path) -> npt.NDArray[np.float32]:
    """Read one single-frame DICOM file.

    Args:
        path: the file; the preamble may be missing.

    Returns:
        float32 in [0, 1], (Rows, Columns) for grey or (Rows, Columns, 3) for colour.

    Raises:
        ImageReadError: the file holds no pixels, several frames, or pixels of an unsupported kind.
        Exception: whatever pydicom raises on a broken file; the caller words it.
    """
    dataset = pydicom.dcmread(path, force=True)
    _require_single_frame(dataset, path)
    pixels, interpretation = _decode_dicom(dataset)
    if interpretation in ("MONOCHROME1", "MONOCHROME2"):
        return _grey_pixels(pixels, dataset, interpretation, path)
    if interpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
        return _unit_range(pixels, np.iinfo(pixels.dtype).max)
    if interpretation == "RGB":
        return _unit_range(pixels, 2 ** int(dataset.BitsStored) - 1)
    raise unreadable_image(
        path,
        f"its Photometric Interpretation (0028,0004) is {interpretation!r}, which is not supported",
        "convert it to MONOCHROME2 or RGB",
    )


def _unit_range(pixels: npt.NDArray[Any], white: int) -> npt.NDArray[np.float32]:
    """Unsigned values divided by their white."""
    return np.clip(pixels.astype(np.float64) / white, 0, 1).astype(np.float32)


def _require_single_frame(dataset: Any, path: Path) -> None:
    """Refuse what is no picture of whole numbers, or more than one."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise unreadable_image(
            path, "its pixels are floating-point numbers (7FE0,0008 or 7FE0,0009)", "export it as integer Pixel Data"
        )
    if "PixelData" not in dataset:
        raise unreadable_image(
            path,
            "it holds no Pixel Data (7FE0,0010); it is not a DICOM image, or it is cut off",
            "copy or export the file again, or leave it out of the data list",
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise unreadable_image(
            path,
            f"Number of Frames (0028,0008) is {frames} and one frame must be chosen first",
            "export the frame to be judged as a single-frame file",
        )


def _decode_dicom(dataset: Any) -> tuple[npt.NDArray[Any], str]:
    """Decompressed pixels, (H, W) or (H, W, 3), and the colour space they are in; YBR is converted to RGB."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # files older than the preamble
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    interpretation = str(dataset.PhotometricInterpretation)
    if get_decoder is not None:
        pixels, facts = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, raw=False)
        interpretation = str(facts["photometric_interpretation"])
    else:
        pixels = dataset.pixel_array
        if interpretation in ("YBR_FULL", "YBR_FULL_422"):
            pixels = convert_color_space(pixels, interpretation, "RGB")
    if interpretation.startswith("YBR_") and "PARTIAL" not in interpretation:
        interpretation = "RGB"  # full YBR is converted above; the JPEG 2000 transforms are undone by their decoder
    return pixels, interpretation


def _grey_pixels(stored: npt.NDArray[Any], dataset: Any, interpretation: str, path: Path) -> npt.NDArray[np.float32]:
    """Stored values through modality, VOI and MONOCHROME1, as float32 in [0, 1]."""
    values, low, high = _modality_values(stored, dataset)
    tables = dataset.get("VOILUTSequence")
    center, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    if tables and tables[0].get("LUTDescriptor") is not None and tables[0].get("LUTData") is not None:
        looked_up, white = _through_table(values, tables[0], dataset)
        shown = looked_up / white
    elif center is not None and width is not None:
        function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
        try:
            shown = grey_window(values, center, width, function)
        except ValueError as error:
            raise unreadable_image(path, str(error), "correct or remove the window tags of the file") from error
    else:
        if int(dataset.PixelRepresentation) == 1:
            low, high = float(values.min()), float(values.max())
        shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    unit = np.clip(shown, 0, 1).astype(np.float32)
    return np.float32(1) - unit if interpretation == "MONOCHROME1" else unit


def _modality_values(stored: npt.NDArray[Any], dataset: Any) -> tuple[npt.NDArray[np.float64], float, float]:
    """Modality values of the stored ones, with the smallest and largest value they can have (PS3.3 C.11.1)."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        values, white = _through_table(stored.astype(np.float64), tables[0], dataset)
        return values, 0.0, white
    bits = int(dataset.BitsStored)
    signed = int(dataset.PixelRepresentation) == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = _first_number(dataset, "RescaleSlope"), _first_number(dataset, "RescaleIntercept")
    if slope is None or intercept is None:
        slope, intercept = 1.0, 0.0
    first, last = (end * slope + intercept for end in ends)
    return stored.astype(np.float64) * slope + intercept, min(first, last), max(first, last)


def _first_number(dataset: Any, keyword: str) -> float | None:
    """First value of a decimal tag; None where the tag is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)


def _through_table(values: npt.NDArray[np.float64], item: Any, dataset: Any) -> tuple[npt.NDArray[np.float64], float]:
    """Values through a modality or VOI look-up table, and the table's white (PS3.3 C.11.1.1)."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and int(dataset.PixelRepresentation) == 1:
        first -= 2**16  # a signed number written with an unsigned value representation
    data = item.LUTData
    if isinstance(data, bytes):  # OW: one word an entry, or two 8-bit entries packed in a word
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        packed = len(data) < 2 * entries
        table = np.frombuffer(data, dtype="u1" if packed else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64))
    if len(table) < entries:
        raise ValueError(f"a look-up table announces {entries} entries and holds {len(table)}")
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return table[index].astype(np.float64), float(2**bits - 1)


def grey_window(
    values: npt.NDArray[np.float64], center: float, width: float, function: str = "LINEAR"
) -> npt.NDArray[np.float64]:
    """Window of PS3.3 C.11.2.1.2 and C.11.2.1.3, mapped to black 0 and white 1.

    Args:
        values: modality values of any shape.
        center: Window Center, in modality values.
        width: Window Width, in modality values; at least 1 for ``LINEAR``, above 0 for the others.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    Returns:
        float64 of the same shape in [0, 1].

    Raises:
        ValueError: the width is out of range or the function unknown.

    Example:
        >>> grey_window(np.array([0.0, 100.0, 300.0]), center=100.5, width=101)
        array([0. , 0.5, 1. ])
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"VOI LUT Function (0028,1056) is {function!r}, not LINEAR, LINEAR_EXACT or SIGMOID")
    if width < 1 if function == "LINEAR" else width <= 0:
        raise ValueError(f"Window Width (0028,1051) is {width:g}, too small for the VOI LUT Function {function}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)
