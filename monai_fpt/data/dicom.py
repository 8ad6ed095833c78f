"""One frame of a DICOM file by pydicom: decoded, in RGB or through the grey pipeline, with what is known of it.

Decisions:

* Every compressed transfer syntax has one decoder that is named here, a required dependency. pydicom left alone takes
  whichever of several it finds installed, and lossy JPEG then has other pixels on another machine.
* Files of several frames are refused unless ``frame`` says which one is meant: nothing can know which frame shows the
  finding.
* pydicom decodes, and resolves palettes and YBR. Works with pydicom 2.4 and 3. Colour profiles are not applied; pixels
  that are not square stay as they are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from monai_fpt.data.errors import unreadable_image
from monai_fpt.data.facts import ImageFacts, ImageOptions
from monai_fpt.data.frames import chosen_frame
from monai_fpt.data.grey import GreyRefusedError, grey_values

try:
    from pydicom.pixels import apply_color_lut, convert_color_space, get_decoder
except ImportError:  # pydicom 2.4
    from pydicom.pixel_data_handlers.util import apply_color_lut, convert_color_space

    get_decoder = None

__all__ = ["DICOM_DECODERS", "dicom_facts", "has_dicom_magic", "read_dicom"]

_JPEG = "pylibjpeg"
DICOM_DECODERS: dict[str, str] = {  # transfer syntax -> the one decoder; uncompressed ones are not listed
    "1.2.840.10008.1.2.4.50": _JPEG,  # JPEG Baseline; pylibjpeg-libjpeg
    "1.2.840.10008.1.2.4.51": _JPEG,  # JPEG Extended
    "1.2.840.10008.1.2.4.57": _JPEG,  # JPEG Lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # JPEG Lossless, selection value 1
    "1.2.840.10008.1.2.4.80": _JPEG,  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81": _JPEG,  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90": _JPEG,  # JPEG 2000 Lossless; pylibjpeg-openjpeg
    "1.2.840.10008.1.2.4.91": _JPEG,  # JPEG 2000
    "1.2.840.10008.1.2.4.201": _JPEG,  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202": _JPEG,
    "1.2.840.10008.1.2.4.203": _JPEG,
    "1.2.840.10008.1.2.5": "pydicom",  # RLE Lossless
}
_VIEWS = {  # View Code Sequence (0054,0220), context group 4014: SNOMED CT and SNOMED RT codes
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
}
_UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}


def has_dicom_magic(path: Path) -> bool:
    """Whether the file begins with the DICOM preamble (``DICM`` after 128 bytes)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path, options: ImageOptions) -> tuple[npt.NDArray[np.float32], ImageFacts]:
    """Read one frame of a DICOM file.

    Args:
        path: the file; the preamble may be missing.
        options: ``frame``, ``voi`` and ``windows`` are read.

    Returns:
        float32 in [0, 1], (Rows, Columns) for grey or (Rows, Columns, 3) for colour and for three CT windows; and the
        facts.

    Raises:
        ImageReadError: the file holds no pixels, several frames of which none is chosen, or pixels of an unsupported
            kind.
        Exception: whatever pydicom raises on a broken file; the caller words it.
    """
    dataset = pydicom.dcmread(path, force=True)
    _require_pixels(dataset, path)
    frames = int(dataset.get("NumberOfFrames") or 1)
    frame = chosen_frame(path, frames, options.frame, "frames, as Number of Frames (0028,0008) says,")
    facts = dicom_facts(dataset, frames, frame)
    pixels, interpretation = _decode_dicom(dataset, frames, frame, path)
    if interpretation in ("MONOCHROME1", "MONOCHROME2"):
        try:
            return grey_values(pixels, dataset, interpretation, options, frame), facts
        except GreyRefusedError as error:
            raise unreadable_image(path, error.reason, error.mend) from error
    if interpretation == "PALETTE COLOR":
        pixels = _through_palette(pixels, dataset, path)
        return _unit_range(pixels, np.iinfo(pixels.dtype).max), facts
    if interpretation == "RGB":
        return _unit_range(pixels, 2 ** int(dataset.BitsStored) - 1), facts
    raise unreadable_image(
        path,
        f"its Photometric Interpretation (0028,0004) is {interpretation!r}, which is not supported",
        "convert it to MONOCHROME2 or RGB",
    )


def dicom_facts(dataset: Any, frames: int = 1, frame: int = 0) -> ImageFacts:
    """What is kept of a DICOM file's tags; see :class:`~monai_fpt.data.facts.ImageFacts` for which.

    Args:
        dataset: read by pydicom, pixels or not.
        frames: in the file.
        frame: which of them is meant.
    """
    measures: Any = next(iter(_shared_macro(dataset, "PixelMeasuresSequence")), {})
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or measures.get("PixelSpacing") or (0, 0)
    anatomy: Any = next(iter(_shared_macro(dataset, "FrameAnatomySequence")), {})
    laterality = (
        _text(dataset, "ImageLaterality") or _text(dataset, "Laterality") or str(anatomy.get("FrameLaterality", ""))
    )
    codes = dataset.get("ViewCodeSequence") or []
    code = str(codes[0].get("CodeValue", "")) if len(codes) else ""
    return ImageFacts(
        format="DICOM",
        height=int(dataset.get("Rows") or 0),
        width=int(dataset.get("Columns") or 0),
        frames=frames,
        frame=frame,
        bits=int(dataset.get("BitsStored") or 0),
        photometric=_text(dataset, "PhotometricInterpretation"),
        spacing=(float(spacing[0]), float(spacing[1])) if len(spacing) == 2 else (0.0, 0.0),
        modality=_text(dataset, "Modality"),
        laterality=laterality.upper() if laterality.upper() in ("L", "R", "B") else "",
        view=_VIEWS.get(code, "") or _text(dataset, "ViewPosition"),
        patient_key=_text(dataset, "PatientID"),
        study_key=_text(dataset, "StudyInstanceUID"),
        device=" ".join(f"{_text(dataset, 'Manufacturer')} {_text(dataset, 'ManufacturerModelName')}".split()),
    )


def _shared_macro(dataset: Any, name: str) -> list[Any]:
    groups = dataset.get("SharedFunctionalGroupsSequence") or []
    return list(groups[0].get(name) or []) if len(groups) else []


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _through_palette(pixels: npt.NDArray[Any], dataset: Any, path: Path) -> npt.NDArray[Any]:
    """Indices through the file's palette by pydicom, past two traps of its: (H, W, 3)."""
    names = [f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")]
    entries, _, bits = dataset.RedPaletteColorLookupTableDescriptor
    if names[0] in dataset and not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        for name in names:  # pydicom takes the words of the table for little endian ones
            dataset[name].value = np.frombuffer(dataset[name].value, dtype=">u2").astype("<u2").tobytes()
    packed = names[0] in dataset and len(dataset[names[0]].value) < 2 * (entries or 2**16)
    if (packed or bits == 8) and not 0 < entries <= 256:  # pydicom's index would wrap around
        raise unreadable_image(
            path, f"its palette has {entries or 2**16} entries of 8 bits, which is not supported", "export it as RGB"
        )
    return np.asarray(apply_color_lut(pixels, dataset)[..., :3])


def _unit_range(pixels: npt.NDArray[Any], white: int) -> npt.NDArray[np.float32]:
    """Unsigned values divided by their white."""
    return np.clip(pixels.astype(np.float64) / white, 0, 1).astype(np.float32)


def _require_pixels(dataset: Any, path: Path) -> None:
    """Refuse what is no picture of whole numbers."""
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
    needed = (
        *("PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel"),
        "PixelRepresentation",
    )
    missing = [keyword for keyword in needed if dataset.get(keyword) in (None, "")]
    if missing:
        raise unreadable_image(
            path,
            f"it lacks what says how its pixels are to be read ({', '.join(missing)})",
            "copy or export the file again, or leave it out of the data list",
        )

    high_bit = dataset.get("HighBit")
    if high_bit not in (None, "") and int(high_bit) != int(dataset.BitsStored) - 1:
        raise unreadable_image(
            path,
            f"its High Bit (0028,0102) is {high_bit} where Bits Stored (0028,0101) is {dataset.BitsStored}, so its values lie in "
            "other bits than decoders take",
            "export it again",
        )


def _decode_dicom(dataset: Any, frames: int, frame: int, path: Path) -> tuple[npt.NDArray[Any], str]:
    """Decompressed pixels of a frame, (H, W) or (H, W, 3), and the colour space they are in; YBR is converted to RGB."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # files older than the preamble
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = DICOM_DECODERS.get(str(syntax), "")
    if not plugin and str(syntax) not in _UNCOMPRESSED:
        raise unreadable_image(
            path, f"its transfer syntax {syntax.name!r} has no decoder here", "export it uncompressed or as JPEG 2000"
        )
    interpretation = str(dataset.PhotometricInterpretation)
    if get_decoder is not None:
        pixels, facts = get_decoder(syntax).as_array(dataset, index=frame, raw=False, decoding_plugin=plugin)
        interpretation = str(facts["photometric_interpretation"])
    else:
        dataset.convert_pixel_data({"pydicom": "rle", "": "numpy"}.get(plugin, plugin))
        pixels = dataset.pixel_array if frames == 1 else dataset.pixel_array[frame]
        if interpretation in ("YBR_FULL", "YBR_FULL_422"):
            pixels = convert_color_space(pixels, interpretation, "RGB")
    if interpretation.startswith("YBR_") and "PARTIAL" not in interpretation:
        interpretation = "RGB"  # full YBR is converted above; the JPEG 2000 transforms are undone by their decoder
    return pixels, interpretation
