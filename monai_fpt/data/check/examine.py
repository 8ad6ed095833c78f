"""check_data_list: read every image of a data list once and say what is wrong before a training learns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_fpt.data.check.balance import find_class_counts
from monai_fpt.data.check.duplicates import find_copies, find_near_copies, find_unreadable
from monai_fpt.data.check.finding import CheckedImage, FPTDataFinding, checked_images
from monai_fpt.data.check.patients import find_torn_patients, find_unknown_patients
from monai_fpt.data.check.probe import probe_images
from monai_fpt.data.check.quality import find_bad_pixels, find_mixed_kinds, find_unusual_sizes
from monai_fpt.data.check.report import FPTDataReport
from monai_fpt.data.check.shortcuts import find_section_differences, find_shortcuts
from monai_fpt.data.datalist import SECTIONS, FPTDataList
from monai_fpt.data.facts import ImageOptions

__all__ = ["check_data_list"]


def check_data_list(
    data: FPTDataList,
    *,
    options: ImageOptions | None = None,
    num_workers: int = 0,
    near_duplicates: bool = True,
    progress: bool = True,
    image_size: int = 512,
) -> FPTDataReport:
    """Check a data list before a training.

    Args:
        data: the list; its sections are taken as they are.
        options: how files become pixels; ``frame`` gives way to an item's own, and ``min_size`` is not obeyed, since copies
            are known by their whole pixels.
        num_workers: processes that read images; 0 reads in this one.
        near_duplicates: look also for pictures that were recompressed, resized or brightened; all pairs are
            compared, half a minute and 2 GB of memory for 100,000 images, four times as long for twice as many.
        progress: show a progress bar on standard error.
        image_size: side in pixels of the square input that images will be resized to.

    Returns:
        The report. An image that cannot be read is a finding of it, never an exception.

    Raises:
        ValueError: the list has no image, or ``image_size`` is not positive.
    """
    items = [item for section in SECTIONS for item in data.section(section)]
    if not items:
        raise ValueError("data check: the data list has no image; give one that has.")
    if image_size < 1:
        raise ValueError(f"data check: image_size is {image_size}; give a positive number of pixels.")
    options = options or ImageOptions()
    probes = probe_images(items, options, image_size, num_workers=num_workers, progress=progress)
    images = checked_images(data, probes)
    readable = [image for image in images if not image.probe.error]
    findings = [
        *find_unreadable(images),
        *find_copies(readable, data.classes),
        *(find_near_copies(readable, data.classes) if near_duplicates else [_NOT_LOOKED]),
        *find_torn_patients(images, data.classes),
        *find_class_counts(data),
        *find_bad_pixels(readable),
        *find_shortcuts(readable, data.classes),
        *find_section_differences(readable, data.classes),
        *find_mixed_kinds(readable),
        *find_unusual_sizes(readable, image_size),
        *find_unknown_patients(images),
    ]
    mean, std = _mean_and_std([image for image in readable if image.section == "training"])
    report = FPTDataReport(
        classes=data.classes,
        task=data.task,
        digest=data.digest,
        image_size=image_size,
        sections=_counts(images, data.classes),
        sizes=_sizes(readable, data.classes),
        facts=_facts(readable),
        mean=mean,
        std=std,
        findings=(),
        items={item["key"]: item for item in items},
        options=options,
    )
    return report.with_findings(tuple(findings))


_NOT_LOOKED = FPTDataFinding(
    "note", "near_copies_not_looked_for", "Near duplicates were not looked for; switch near_duplicates on to find them."
)


def _counts(images: Sequence[CheckedImage], classes: Sequence[str]) -> dict[str, Any]:
    """Images and patients of each section and class."""
    known = any(image.group for image in images)

    def of(some: Sequence[CheckedImage]) -> dict[str, Any]:
        return {"images": len(some), "patients": len({i.group for i in some if i.group}) if known else None}

    return {
        section: of(inside)
        | {"classes": {name: of([i for i in inside if index in i.labels]) for index, name in enumerate(classes)}}
        for section in SECTIONS
        for inside in [[image for image in images if image.section == section]]
    }


def _sizes(images: Sequence[CheckedImage], classes: Sequence[str]) -> tuple[tuple[int, int, str, int], ...]:
    counts: Counter[tuple[int, int, str]] = Counter()
    for image in images:
        for name in [classes[index] for index in image.labels] or [""]:
            counts[image.probe.facts.width, image.probe.facts.height, name] += 1
    return tuple((*place, number) for place, number in counts.most_common())


def _facts(images: Sequence[CheckedImage]) -> dict[str, dict[str, int]]:
    facts = [image.probe.facts for image in images]
    values = {
        "format": [fact.format for fact in facts],
        "pixels": [f"{fact.photometric} {fact.bits} bit".strip() for fact in facts],
        "device": [fact.device for fact in facts],
        "modality": [fact.modality for fact in facts],
        "view": [fact.view for fact in facts],
        "laterality": [fact.laterality for fact in facts],
    }
    return {name: dict(Counter(value or "unknown" for value in found).most_common()) for name, found in values.items()}


_Three = tuple[float, float, float]


def _mean_and_std(images: Sequence[CheckedImage]) -> tuple[_Three | None, _Three | None]:
    """Of all pixels of the square inputs, each image counting alike."""
    if not images:
        return None, None
    mean = np.mean([image.probe.mean for image in images], axis=0)
    square = np.mean([image.probe.mean_square for image in images], axis=0)
    std = np.sqrt((square - mean**2).clip(min=0))
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
