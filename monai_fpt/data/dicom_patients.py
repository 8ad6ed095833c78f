"""Patients of DICOM files that nobody named: by Patient ID (0010,0020).

An anonymiser may write one ID into every file, so an ID of more than a fifth of the files is taken for no patient. What
was grouped is said, without the IDs.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom

from monai_fpt.data.dicom import has_dicom_magic

__all__ = ["LARGEST_SHARE", "dicom_patient", "with_dicom_patients"]

LARGEST_SHARE = 0.2


def with_dicom_patients(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with the Patient ID of their DICOM file as group, where they have none.

    Args:
        items: of a data list; only headers of files are read.

    Returns:
        The items themselves where no group was found.
    """
    found = {item["key"]: dicom_patient(Path(item["image"])) for item in items if "group" not in item}
    counts = Counter(patient for patient in found.values() if patient)
    patients = {name for name, count in counts.items() if count <= max(2, LARGEST_SHARE * len(items))}
    grouped = [item | {"group": found[item["key"]]} if found.get(item["key"]) in patients else item for item in items]
    if patients and int(os.environ.get("RANK", 0)) == 0:
        images = sum(counts[name] for name in patients)
        print(f"Patients: {len(patients)}, by the Patient ID (0010,0020) of {images} DICOM files", flush=True)
    return grouped


def dicom_patient(path: Path) -> str:
    """The Patient ID of a DICOM file, empty for others; a broken file is the reader's business."""
    try:
        if path.suffix.lower() not in (".dcm", ".dicom") and not has_dicom_magic(path):
            return ""
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
        return str(header.get("PatientID") or "").strip()
    except Exception:
        return ""
