"""Data lists of a k-fold cross-validation: every image is tested once, by a network that never saw its patient.

Decisions:

* Groups (patients; an image without one is a group of its own) are dealt into k parts by scikit-learn's
  ``StratifiedGroupKFold``, stratified as :mod:`monai_fpt.data.split` does it. Part i is the test of fold i.
* What is left of a fold is dealt again: its validation part chooses the epoch, so that the test part chooses nothing.
* The parts depend on keys, labels, groups and the seed only, not on the order of files.
* A class that has fewer groups than there are folds is an error. One that stratification left out of a test part all the
  same is said: the out-of-fold scores are of all images together and miss nothing, the scores of that fold do.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

from sklearn.model_selection import StratifiedGroupKFold

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.data.split import deal_sections, label_strata

__all__ = ["fold_lists"]


def fold_lists(
    data: FPTDataList,
    folds: int = 5,
    *,
    seed: int = 0,
    validation_fraction: float = 0.15,
    sections: Sequence[str] = SECTIONS,
) -> list[FPTDataList]:
    """Data lists of the folds.

    Args:
        data: labelled images; its sections are dealt anew.
        folds: their number, at least 2.
        seed: another seed, other folds.
        validation_fraction: of what a fold does not test, the share that chooses the epoch; above 0 and below 1.
        sections: which images take part. Give ``("training", "validation")`` to leave an official test section alone.

    Returns:
        one list a fold. Together their test sections are the images of ``sections``, each once.

    Raises:
        ValueError: a number out of range, images without labels, or a class with fewer groups than folds.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise ValueError(f"cross-validation: folds={folds!r} must be a whole number of at least 2; 5 is usual.")
    if not 0 < validation_fraction < 1:
        raise ValueError(
            f"cross-validation: validation_fraction={validation_fraction} must lie between 0 and 1; choose for example 0.15."
        )
    unknown = sorted(set(sections) - set(SECTIONS))
    if unknown or not sections:
        raise ValueError(f"cross-validation: sections {list(sections)} must be some of {', '.join(SECTIONS)}.")
    items = sorted((item for name in SECTIONS if name in sections for item in data.section(name)), key=_key)
    if not data.classes or not items:
        raise ValueError("cross-validation: there are no labelled images to deal; give a data set with labels.")
    labels = {_key(item): _classes_of(item) for item in items}
    groups = {_key(item): str(item["group"]) for item in items if "group" in item}
    _require_groups(data.classes, labels, groups, folds)
    lists = []
    for number, tested in enumerate(_parts(labels, groups, folds, seed), start=1):
        rest = {key: label for key, label in labels.items() if key not in tested}
        fractions = {"training": 1 - validation_fraction, "validation": validation_fraction}
        dealt = deal_sections(rest, groups, data.classes, fractions, seed) | dict.fromkeys(tested, "test")
        parts = {name: [item for item in items if dealt[_key(item)] == name] for name in SECTIONS}
        fold = dataclasses.replace(data, training=parts["training"], validation=parts["validation"], test=parts["test"])
        _say_what_is_missing(fold, number)
        lists.append(fold)
    return lists


def _parts(labels: dict[str, list[int]], groups: dict[str, str], folds: int, seed: int) -> list[set[str]]:
    """Keys of the test part of every fold."""
    keys = list(labels)
    strata = label_strata([tuple(sorted(labels[key])) for key in keys])
    owners = [f"group:{groups[key]}" if key in groups else f"image:{key}" for key in keys]
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return [{keys[i] for i in test} for _, test in splitter.split(keys, strata, owners)]


def _require_groups(classes: Sequence[str], labels: dict[str, list[int]], groups: dict[str, str], folds: int) -> None:
    for index, name in enumerate(classes):
        holders = {groups.get(key, f"image:{key}") for key, own in labels.items() if index in own}
        if len(holders) < folds:
            raise ValueError(
                f"cross-validation: class {name!r} has {len(holders)} separate group(s) or image(s), fewer than {folds} folds; "
                "take fewer folds, or add images."
            )


def _say_what_is_missing(fold: FPTDataList, number: int) -> None:
    missing = [name for name, count in zip(fold.classes, fold.class_counts("test"), strict=True) if not count]
    if missing:
        warnings.warn(
            f"cross-validation: the test part of fold {number} has no image of {', '.join(map(repr, missing))}; its own scores leave "
            "the class out, those over all folds do not.",
            stacklevel=3,
        )


def _key(item: dict[str, Any]) -> str:
    return str(item["key"])


def _classes_of(item: dict[str, Any]) -> list[int]:
    label = item["label"]
    return [label] if isinstance(label, int) else [index for index, value in enumerate(label) if value]
