"""The grey pipeline of DICOM: stored values to what a viewer shows, or to fixed CT windows.

The order is the standard's (PS3.3 C.11.1 and C.11.2, PS3.4 N.2): stored values, modality look-up table or rescale, then
the value-of-interest (VOI) table or window, then the inversion of MONOCHROME1. Decisions:

* Both kinds of VOI present: the table wins, and the first of several windows or tables is taken, as pydicom does.
* The result is scaled by the range of the VOI output (a window maps to 0..1 by definition, a table by its bits).
* ``voi="auto"`` passes over a window that spans all values there can be: a linear one changes nothing and a sigmoid one
  lifts black and dims white (every file of CMMD has it: black would be 30/255). It also passes over the windows of CT
  files, which an operator set for each series, so that equal tissue keeps equal grey.
* Without a VOI unsigned pixels are scaled by the full range of Bits Stored after the modality step, so that images of
  one series stay comparable (as with 16-bit PNG). Signed pixels would all become the same middle grey that way and are
  scaled by the image's own smallest and largest value; CT in Hounsfield units by the fixed window ``full``.
* Look-up tables and windows are computed here and not by pydicom, whose table look-up wraps around where a table of
  8-bit entries is longer than 256.
* In enhanced multi-frame files rescale and window belong to the frame; a frame's own value wins over the shared one and
  that over the file's.
* Presentation LUT Shape is not applied again: it repeats what MONOCHROME1 and MONOCHROME2 say.
* Not done: masking of pixel padding, overlays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from monai_fpt.data.facts import ImageOptions
from monai_fpt.data.windows import HU_WINDOWS, hu_window

__all__ = ["GreyRefusedError", "grey_values", "grey_window"]

_Values = npt.NDArray[np.float64]


class GreyRefusedError(ValueError):
    """The grey pipeline cannot be applied; carries the reason and the mend for the reader's sentence."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.reason, self.mend = reason, mend


def grey_values(
    stored: npt.NDArray[Any], dataset: Any, interpretation: str, options: ImageOptions, frame: int = 0
) -> npt.NDArray[np.float32]:
    """Stored values of one frame as a viewer shows them.

    Args:
        stored: (Rows, Columns) whole numbers, as decoded.
        dataset: the file's data set.
        interpretation: ``MONOCHROME1`` or ``MONOCHROME2``.
        options: ``voi`` and ``windows`` are read.
        frame: number of the frame, from 0.

    Returns:
        float32 in [0, 1], (Rows, Columns); (Rows, Columns, 3) where three CT windows are asked for.

    Raises:
        GreyRefusedError: a window that cannot be, an unknown VOI function, or CT windows for a CT file without
            Hounsfield units.
        ValueError: a look-up table shorter than it says.
    """
    tags = _FrameTags(dataset, frame)
    values, low, high = _modality_values(stored, dataset, tags)
    is_ct = dataset.get("Modality") == "CT"
    in_hu = is_ct and tags.number("RescaleIntercept") is not None and not dataset.get("ModalityLUTSequence")
    if is_ct and options.windows and not in_hu:
        raise GreyRefusedError(
            "it is a CT file without Rescale Intercept (0028,1052), so its Hounsfield units are unknown",
            "leave it out, or read the data set without windows",
        )
    if in_hu and (options.windows or options.voi != "always"):
        windows = options.windows or (HU_WINDOWS["full"],)
        channels = [hu_window(values, *window) for window in windows]
        return channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    shown = (
        None if options.voi == "never" or (options.voi == "auto" and is_ct) else _voi(values, low, high, tags, options)
    )
    if shown is None:
        if int(dataset.PixelRepresentation) == 1:
            low, high = float(values.min()), float(values.max())
        shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    unit = np.clip(shown, 0, 1).astype(np.float32)
    return np.float32(1) - unit if interpretation == "MONOCHROME1" else unit


class _FrameTags:
    """Values of a tag for one frame: of its own functional groups, else the shared ones, else of the file."""

    def __init__(self, dataset: Any, frame: int) -> None:
        own = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = [*([own[frame]] if frame < len(own) else []), *shared[:1]]
        self._places = [*self._macros(groups), dataset]

    @staticmethod
    def _macros(groups: list[Any]) -> Iterator[Any]:
        for group in groups:
            for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                yield from (group.get(macro) or [])[:1]

    def get(self, keyword: str) -> Any:
        return next((place.get(keyword) for place in self._places if place.get(keyword) not in (None, "")), None)

    def number(self, keyword: str) -> float | None:
        """First value of a decimal tag; None where the tag is absent or empty."""
        value = self.get(keyword)
        if isinstance(value, (list, pydicom.multival.MultiValue)):
            value = value[0] if len(value) else None
        return None if value is None else float(value)


def _voi(values: _Values, low: float, high: float, tags: _FrameTags, options: ImageOptions) -> _Values | None:
    """Values through the file's VOI table or window; None where there is none, or none worth applying."""
    tables = tags.get("VOILUTSequence")
    if tables and tables[0].get("LUTDescriptor") is not None and tables[0].get("LUTData") is not None:
        looked_up, white = _through_table(values, tables[0], tags)
        return looked_up / white
    center, width = tags.number("WindowCenter"), tags.number("WindowWidth")
    if center is None or width is None:
        return None
    spans_all = center - width / 2 <= low + 1 and center + width / 2 >= high - 1
    if options.voi == "auto" and spans_all:
        return None
    try:
        return grey_window(values, center, width, str(tags.get("VOILUTFunction") or "LINEAR").upper())
    except ValueError as error:
        raise GreyRefusedError(
            str(error), "correct or remove the window tags of the file, or read it with voi='never'"
        ) from error


def _modality_values(stored: npt.NDArray[Any], dataset: Any, tags: _FrameTags) -> tuple[_Values, float, float]:
    """Modality values of the stored ones, with the smallest and largest value they can have (PS3.3 C.11.1)."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        values, white = _through_table(stored.astype(np.float64), tables[0], tags)
        return values, 0.0, white
    bits = int(dataset.BitsStored)
    signed = int(dataset.PixelRepresentation) == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if slope is None or intercept is None:
        slope, intercept = 1.0, 0.0
    first, last = (end * slope + intercept for end in ends)
    return stored.astype(np.float64) * slope + intercept, min(first, last), max(first, last)


def _through_table(values: _Values, item: Any, tags: _FrameTags) -> tuple[_Values, float]:
    """Values through a modality or VOI look-up table, and the table's white (PS3.3 C.11.1.1)."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and int(tags.get("PixelRepresentation")) == 1:
        first -= 2**16  # a signed number written with an unsigned value representation
    data = item.LUTData
    if isinstance(data, bytes):  # OW: one word an entry, or two 8-bit entries packed in a word
        order = "<" if tags.get("file_meta").TransferSyntaxUID.is_little_endian else ">"
        packed = len(data) < 2 * entries
        table = np.frombuffer(data, dtype="u1" if packed else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64))
    if len(table) < entries:
        raise ValueError(f"a look-up table announces {entries} entries and holds {len(table)}")
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return table[index].astype(np.float64), float(2**bits - 1)


def grey_window(values: _Values, center: float, width: float, function: str = "LINEAR") -> _Values:
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
