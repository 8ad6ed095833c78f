"""Findings on patients: in two sections, with several labels, or unknown.

The list's groups decide. Where it has none, the Patient ID of DICOM files is looked at, as a warning only: files made anonymous
often share one. Slices of one file never belong in two sections, whoever the patient is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monai_fpt.data.check.finding import CheckedImage, FPTDataFinding, counted, having, places, telling_order
from monai_fpt.data.dicom_patients import LARGEST_SHARE

__all__ = ["find_torn_patients", "find_unknown_patients"]


def find_torn_patients(images: Sequence[CheckedImage], classes: Sequence[str]) -> list[FPTDataFinding]:
    """Patients and files in more than one section, and patients with several labels.

    Args:
        images: all images of the list.
        classes: names of the classes.
    """
    known = [image for image in images if image.group]
    torn = _torn(known, lambda image: image.group)
    findings = _finding(
        "error",
        "patients_across_sections",
        torn,
        "{patients} images in more than one section ({images}), which makes scores too good; move all images of a "
        "patient (group) to one section.",
        classes,
    )
    slices = _torn([image for image in images if "#" in image.key], lambda image: image.path)
    findings += _finding(
        "error",
        "files_across_sections",
        slices,
        "{files} frames or slices in more than one section ({images}), which makes scores too good; move all of a "
        "file to one section.",
        classes,
    )
    by_dicom = _torn(_with_dicom_patient(images), lambda image: image.probe.facts.patient_key)
    findings += _finding(
        "warning",
        "dicom_patients_across_sections",
        by_dicom,
        "By the Patient ID of their DICOM files {patients} images in more than one section ({images}), which makes "
        "scores too good; give the list a column of patients and have the sections dealt again.",
        classes,
    )
    mixed = {
        group: found
        for group, found in _by(known, lambda image: image.group).items()
        if len({image.labels for image in found}) > 1
    }
    return findings + _finding(
        "note",
        "patients_with_several_labels",
        mixed,
        "{patients} images of different labels ({images}), which is right where a label is of the image or of one "
        "side; correct it where it is of the patient.",
        classes,
    )


def find_unknown_patients(images: Sequence[CheckedImage]) -> list[FPTDataFinding]:
    """Images of which no patient is known.

    Args:
        images: all images of the list.
    """
    unknown = [image for image in images if not image.group]
    if not unknown:
        return []
    mend = "give the table a column of patients (--group_column)"
    if len(unknown) == len(images):
        text = f"No patient (group) is known, so one patient may be in two sections without being seen; {mend}."
        return [FPTDataFinding("note", "patients_unknown", text)]
    text = (
        f"{having(len(unknown), 'image')} no patient (group), of {len(images):,}, so a patient of theirs may be in two "
        f"sections without being seen; {mend} without gaps."
    )
    return [FPTDataFinding("note", "patients_unknown", text, tuple(image.key for image in unknown))]


def _by(images: Sequence[CheckedImage], name_of: Callable[[CheckedImage], str]) -> dict[str, list[CheckedImage]]:
    found: dict[str, list[CheckedImage]] = {}
    for image in images:
        found.setdefault(name_of(image), []).append(image)
    return found


def _torn(images: Sequence[CheckedImage], name_of: Callable[[CheckedImage], str]) -> dict[str, list[CheckedImage]]:
    """Names whose images are in more than one section."""
    return {name: found for name, found in _by(images, name_of).items() if len({image.section for image in found}) > 1}


def _with_dicom_patient(images: Sequence[CheckedImage]) -> list[CheckedImage]:
    """Images without a group whose DICOM Patient ID can be a patient's."""
    named = [image for image in images if not image.group and image.probe.facts.patient_key]
    allowed = max(2, LARGEST_SHARE * len(images))
    return [
        image
        for found in _by(named, lambda image: image.probe.facts.patient_key).values()
        if len(found) <= allowed
        for image in found
    ]


def _finding(
    severity: str, check: str, found: dict[str, list[CheckedImage]], text: str, classes: Sequence[str]
) -> list[FPTDataFinding]:
    """The finding on patients or files, where there are any."""
    if not found:
        return []
    found = {name: telling_order(images) for name, images in found.items()}
    flat = [image for images in found.values() for image in images]
    return [
        FPTDataFinding(
            severity,
            check,
            text.format(
                patients=having(len(found), "patient"),
                files=having(len(found), "file"),
                images=counted(len(flat), "image"),
            ),
            tuple(image.key for image in flat),
            tuple(tuple(image.key for image in images) for images in found.values()),
            patients=tuple(found) if "patients" in check else (),
            remarks=places(flat, classes),
        )
    ]
