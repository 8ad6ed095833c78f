"""Findings on files: unreadable ones, the same picture twice, and nearly the same picture twice.

Two images are **copies** when their decoded pixels are equal, whatever the files are called and however they are packed. Copies in two
sections make scores too good; copies with different labels mean that one label is wrong; copies within a section only
count double. Images of one value are left out: black frames are all alike, and are an error of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from monai_fpt.data.check.finding import CheckedImage, FPTDataFinding, counted, places, sections_told, telling_order
from monai_fpt.data.check.similar import similar_sets

__all__ = ["find_copies", "find_near_copies", "find_unreadable"]

_Sets = list[list[CheckedImage]]


def find_unreadable(images: Sequence[CheckedImage]) -> list[FPTDataFinding]:
    """Images that gave no pixels.

    Args:
        images: all images of the list.
    """
    broken = [image for image in images if image.probe.error]
    if not broken:
        return []
    remarks = {image.key: f"{image.section}: {_reason(image.probe.error)}" for image in broken}
    text = (
        f"{counted(len(broken), 'image')} cannot be read ({sections_told(broken)}); copy or export the files again, or "
        "take them out of the list."
    )
    return [FPTDataFinding("error", "unreadable", text, tuple(remarks), remarks=remarks)]


def _reason(sentence: str) -> str:
    """What is wrong with a file, without its path and the mend, which are said once for all."""
    return re.sub(r"^cannot read image .*?': ", "", sentence).rsplit("; ", 1)[0].rstrip(".")


def find_copies(images: Sequence[CheckedImage], classes: Sequence[str]) -> list[FPTDataFinding]:
    """Pictures that occur more than once.

    Args:
        images: the readable images.
        classes: names of the classes.
    """
    by_pixels: dict[str, list[CheckedImage]] = {}
    for image in images:
        if not image.probe.constant:
            by_pixels.setdefault(image.probe.pixel_sha, []).append(image)
    copies = [found for found in by_pixels.values() if len(found) > 1]
    conflicting = [found for found in copies if _differ_in_label(found)]
    across = [found for found in copies if _differ_in_section(found)]
    within = [found for found in copies if not _differ_in_label(found) and not _differ_in_section(found)]
    return [
        *_finding(
            "error",
            "copies_with_different_labels",
            conflicting,
            "{pictures} more than once with different labels ({images}); keep the copies with the right label.",
            classes,
        ),
        *_finding(
            "error",
            "copies_across_sections",
            across,
            "{pictures} in more than one section ({images}), which makes scores too good; keep each in one section, or "
            "give its copies one patient (group) and have the sections dealt again.",
            classes,
        ),
        *_finding(
            "warning",
            "copies_within_a_section",
            within,
            "{pictures} more than once in the same section ({images}), which gives them more weight; keep one copy of "
            "each.",
            classes,
        ),
    ]


def find_near_copies(images: Sequence[CheckedImage], classes: Sequence[str]) -> list[FPTDataFinding]:
    """Pictures that occur more than once, changed a little; see :mod:`~monai_fpt.data.check.similar`.

    Args:
        images: the readable images.
        classes: names of the classes.
    """
    images = [image for image in images if not image.probe.constant]
    looks = np.stack([image.probe.look for image in images]) if images else np.zeros((0, 1, 1), np.uint8)
    similar = [[images[index] for index in found] for found in similar_sets(looks, _incomparable(images))]
    across = [found for found in similar if _differ_in_section(found)]
    conflicting = [found for found in similar if _differ_in_label(found)]
    within = [found for found in similar if not _differ_in_label(found) and not _differ_in_section(found)]
    return [
        *_finding(
            "warning",
            "near_copies_across_sections",
            across,
            "{pictures} in more than one section almost unchanged ({images}: compressed, resized or brightened again), "
            "which makes scores too good; look at them, and keep each in one section.",
            classes,
        ),
        *_finding(
            "warning",
            "near_copies_with_different_labels",
            conflicting,
            "{pictures} more than once almost unchanged, with different labels ({images}); look at them, and keep the "
            "right one.",
            classes,
        ),
        *_finding(
            "note",
            "near_copies_within_a_section",
            within,
            "{pictures} more than once in the same section almost unchanged ({images}), which gives them more "
            "weight; keep one of each, or leave them.",
            classes,
        ),
    ]


def _finding(severity: str, check: str, sets: _Sets, text: str, classes: Sequence[str]) -> list[FPTDataFinding]:
    """The finding on sets of copies, where there are any."""
    if not sets:
        return []
    sets = [telling_order(found) for found in sets]
    flat = [image for found in sets for image in found]
    pictures = "1 picture occurs" if len(sets) == 1 else f"{counted(len(sets), 'picture')} occur"
    remarks = places(flat, classes)
    for found in sets:
        for image in found[1:]:
            same = [other for other in found if other is not image and other.probe.file_sha == image.probe.file_sha]
            alike = image.probe.pixel_sha == found[0].probe.pixel_sha
            if not same and alike:
                remarks[image.key] += "; another file with equal pixels"
    return [
        FPTDataFinding(
            severity,
            check,
            text.format(pictures=pictures, images=counted(len(flat), "image")),
            tuple(image.key for image in flat),
            tuple(tuple(image.key for image in found) for found in sets),
            remarks=remarks,
        )
    ]


def _differ_in_section(images: Sequence[CheckedImage]) -> bool:
    return len({image.section for image in images}) > 1


def _differ_in_label(images: Sequence[CheckedImage]) -> bool:
    return len({image.labels for image in images}) > 1


def _incomparable(images: Sequence[CheckedImage]) -> list[str]:
    """One name for exact copies and for slices of one file: the latter are alike by nature, the former told already."""
    first_path: dict[str, str] = {}
    return [first_path.setdefault(image.probe.pixel_sha, image.path) for image in images]
