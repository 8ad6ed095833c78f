"""Labels dealt anew among patients: what is learned from them must judge the test images by chance, or something leaks.

Patients of the training and of the validation section swap their labels among themselves, section by section. Classes stay as common as
they are where all patients have the same number of images; otherwise labels are repeated or cut, and about as common. The test section
keeps its own. Every seed deals anew: what one deal happens to say about brightness another does not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from monai_fpt.data import FPTDataList

__all__ = ["shuffled_labels"]


def shuffled_labels(data: FPTDataList, seed: int) -> FPTDataList:
    """The same images with labels dealt anew in training and validation.

    Args:
        data: labelled images.
        seed: another seed, another deal.

    Returns:
        a list whose images of a patient got the labels of another patient, repeated or cut where the numbers of images differ.
    """
    random = np.random.default_rng([seed, 7919])
    return dataclasses.replace(
        data,
        training=_dealt(data.training, random),
        validation=_dealt(data.validation, random),
    )


def _dealt(items: list[dict[str, Any]], random: np.random.Generator) -> list[dict[str, Any]]:
    owners: dict[str, list[int]] = {}
    for row, item in enumerate(items):
        owners.setdefault(f"group:{item['group']}" if "group" in item else f"image:{item['key']}", []).append(row)
    rows = [owners[name] for name in sorted(owners)]
    labels: list[Any] = [None] * len(items)
    for own, place in zip(rows, random.permutation(len(rows)), strict=True):
        given = [items[row]["label"] for row in rows[int(place)]]
        for count, row in enumerate(own):
            labels[row] = given[count % len(given)]
    return [item | {"label": label} for item, label in zip(items, labels, strict=True)]
