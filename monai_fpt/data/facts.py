"""How one image is to be read, what is known of it, and both together with its pixels.

``ImageOptions`` is the one list of what can be chosen when a file becomes pixels; readers, bundle and cache carry it.
``ImageFacts`` is the one list of what is kept of a file beside its pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch

from monai_fpt.data.windows import resolved_windows

__all__ = ["ImageFacts", "ImageOptions", "MedicalImage"]

_CHOICES = {
    "voi": ("auto", "always", "never"),
    "scale": ("type", "range", "percentile"),
    "plane": ("axial", "coronal", "sagittal"),
}


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """What can be chosen when a file becomes pixels.

    Attributes:
        voi: whether a DICOM file's VOI look-up table or window is applied. ``"auto"``: yes, but for a window that spans
            all values there can be (every CMMD file has such a sigmoid, which lifts black to 30/255) and for CT, whose
            windows change from file to file. ``"always"``, ``"never"``.
        windows: one or three CT windows in HU, names of :data:`~monai_fpt.data.windows.HU_WINDOWS` or pairs (centre,
            width); one gives three equal channels, three give one channel each. Applied instead of VOI to CT files
            and to volumes; other images are not touched by it.
        frame: which frame of a multi-frame DICOM or TIFF file or which slice of a volume: a number from 0, negative from the
            end, or ``"middle"``. None refuses files of several.
        plane: of the slices of a volume with directions (NIfTI, NRRD, MHA).
        scale: what is black and white where a volume's or array's type does not say so (signed integers, floats):
            ``"type"`` refuses them, ``"range"`` takes the smallest and largest value of the file, ``"percentile"`` its
            0.5th and 99.5th percentile.
        min_size: JPEG files are decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of their size whose sides are still
            at least this many pixels. None decodes them whole.

    Raises:
        ValueError: a value that cannot be; the text names it.
    """

    voi: str = "auto"
    windows: tuple[Any, ...] = ()
    frame: int | str | None = None
    plane: str = "axial"
    scale: str = "type"
    min_size: int | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"image options: {name} is {getattr(self, name)!r}; choose one of {choices}.")
        windows = (self.windows,) if isinstance(self.windows, str) else tuple(self.windows)
        if len(windows) not in (0, 1, 3):
            raise ValueError(
                f"image options: {len(windows)} windows are given; give one, or three for the three channels."
            )
        object.__setattr__(self, "windows", resolved_windows(windows))
        whole = isinstance(self.frame, int) and not isinstance(self.frame, bool)
        if not (self.frame is None or self.frame == "middle" or whole):
            raise ValueError(f"image options: frame is {self.frame!r}; give a whole number, 'middle', or nothing.")
        if self.min_size is not None and (not isinstance(self.min_size, int) or self.min_size < 1):
            raise ValueError(f"image options: min_size is {self.min_size!r}; give a positive whole number of pixels.")


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What is kept of a file beside its pixels; text is empty and numbers are 0 where unknown.

    Attributes:
        format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``DICOM``, ``NIFTI``, ``NRRD``, ``META`` or ``NUMPY``.
        height, width: of the whole image in pixels, as it is seen.
        frames: frames or slices in the file.
        frame: which of them this is, from 0.
        bits: bits stored a sample.
        photometric: DICOM Photometric Interpretation (0028,0004) as stored, or Pillow's mode.
        spacing: distance of rows and of columns in mm; (0, 0) where unknown. DICOM: Pixel Spacing, else Imager Pixel Spacing.
        modality: DICOM Modality (0008,0060).
        laterality: ``L``, ``R``, ``B`` or empty: Image Laterality (0020,0062), else Laterality (0020,0060).
        view: ``CC``, ``MLO``, ... of View Code Sequence (0054,0220), else View Position (0018,5101).
        patient_key: DICOM Patient ID (0010,0020). It is patient data: for grouping, never for logs.
        study_key: DICOM Study Instance UID (0020,000D). Likewise.
        device: manufacturer and model, of DICOM or EXIF.
    """

    format: str
    height: int
    width: int
    frames: int = 1
    frame: int = 0
    bits: int = 8
    photometric: str = ""
    spacing: tuple[float, float] = (0.0, 0.0)
    modality: str = ""
    laterality: str = ""
    view: str = ""
    patient_key: str = ""
    study_key: str = ""
    device: str = ""


class MedicalImage(NamedTuple):
    """Pixels float32 (3, H, W) in [0, 1] and what is known of them."""

    pixels: torch.Tensor
    facts: ImageFacts
