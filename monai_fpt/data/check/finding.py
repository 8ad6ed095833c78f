"""What a check hands to the report: findings, and the images that it judged.

A finding is one sentence (what, where, how to mend it) with the images it is about. Names of patients never stand in
the sentence; they are kept apart, for the report to show only when asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai_fpt.data.check.probe import ImageProbe
from monai_fpt.data.datalist import SECTIONS, FPTDataList

__all__ = [
    "SEVERITIES",
    "CheckedImage",
    "FPTDataFinding",
    "checked_images",
    "counted",
    "having",
    "percent",
    "places",
    "sections_told",
    "telling_order",
]

SEVERITIES = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class FPTDataFinding:
    """One thing that a user should know before a training.

    Attributes:
        severity: ``"error"`` (a training would be wrong), ``"warning"`` (look at it) or ``"note"``.
        check: short name of what was checked, for programs.
        text: one sentence, without names of patients.
        keys: affected images.
        sets: affected images that belong together: copies of one picture, images of one patient.
        patients: the patient of each of ``sets``, where they are patients.
        remarks: what is to be said of single images, by key.
        evidence: a small table, its first row the heads.
    """

    severity: str
    check: str
    text: str
    keys: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    patients: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    remarks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evidence: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"data finding: severity is {self.severity!r}; choose one of {SEVERITIES}.")

    def to_dict(self, *, show_patients: bool = False) -> dict[str, Any]:
        """The finding as JSON can hold it.

        Args:
            show_patients: include the names of patients.
        """
        content: dict[str, Any] = {
            "severity": self.severity,
            "check": self.check,
            "text": self.text,
            "keys": list(self.keys),
            "sets": [list(keys) for keys in self.sets],
            "remarks": dict(self.remarks),
            "evidence": [list(row) for row in self.evidence],
        }
        if show_patients:
            content["patients"] = list(self.patients)
        return content


@dataclasses.dataclass(frozen=True)
class CheckedImage:
    """An image of a data list with what was measured of it.

    Attributes:
        key: of the data list.
        path: of the file.
        section: it belongs to.
        labels: its class indices; empty for an unlabelled image.
        group: its patient or lesion; empty where unknown.
        probe: the measurements.
    """

    key: str
    path: str
    section: str
    labels: tuple[int, ...]
    group: str
    probe: ImageProbe


def checked_images(data: FPTDataList, probes: Sequence[ImageProbe]) -> list[CheckedImage]:
    """Items and probes put together.

    Args:
        data: the list.
        probes: of its items, section by section.
    """
    images = []
    places_of_items = [(section, item) for section in SECTIONS for item in data.section(section)]
    for (section, item), probe in zip(places_of_items, probes, strict=True):
        label = item.get("label")
        if label is None:
            labels: tuple[int, ...] = ()
        elif isinstance(label, int):
            labels = (label,)
        else:
            labels = tuple(index for index, value in enumerate(label) if value)
        group = str(item.get("group", ""))
        images.append(CheckedImage(item["key"], str(item["image"]), section, labels, group, probe))
    return images


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "image"), counted(1200, "image"), counted(2, "class")
        ('1 image', '1,200 images', '2 classes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def having(number: int, noun: str) -> str:
    """A number, its noun and the verb.

    Example:
        >>> having(1, "image"), having(2, "patient")
        ('1 image has', '2 patients have')
    """
    return f"{counted(number, noun)} {'has' if number == 1 else 'have'}"


def percent(share: float, digits: int = 0) -> str:
    """A share as text.

    Example:
        >>> percent(0.125, 1), percent(1)
        ('12.5 %', '100 %')
    """
    return f"{100 * share:.{digits}f} %"


def telling_order(images: Sequence[CheckedImage]) -> list[CheckedImage]:
    """Images so ordered that those of every section and label come first, for lists that are cut off.

    Args:
        images: that belong together.
    """
    seen: dict[tuple[str, tuple[int, ...]], int] = {}
    ranks = []
    for image in images:
        kind = (image.section, image.labels)
        seen[kind] = seen.get(kind, -1) + 1
        ranks.append(seen[kind])
    return [images[index] for index in sorted(range(len(images)), key=lambda index: ranks[index])]


def sections_told(images: Iterable[CheckedImage]) -> str:
    """How many images each section has, as ``training 3, test 1``."""
    sections = [image.section for image in images]
    return ", ".join(f"{name} {sections.count(name):,}" for name in SECTIONS if name in sections)


def places(images: Iterable[CheckedImage], classes: Sequence[str]) -> dict[str, str]:
    """Key to section and classes, as ``test, benign``."""
    return {image.key: ", ".join([image.section, *(classes[index] for index in image.labels)]) for image in images}
