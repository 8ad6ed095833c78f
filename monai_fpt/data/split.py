"""Splitting into training, validation and test: by group, stratified and seeded, by scikit-learn.

What is divided are **groups** (patients; an image without one is a group of its own), so no patient is on both sides.
Decisions:

* Images with groups go through ``StratifiedGroupKFold``, of whose folds as many are taken as make up the fraction;
  without groups ``train_test_split`` stratifies to the image.
* Several labels of an image are stratified by their combination; combinations that are too rare to divide are pooled.
* Keys are sorted first, so the split does not depend on the order of files. It may depend on the version of
  scikit-learn: a training saves its split and a resumed or later evaluated one reads that.
* A class that is missing in a section is an error, never a silent gap.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from monai_fpt.data.datalist import SECTIONS

__all__ = ["check_fractions", "deal_sections", "label_strata", "section_of_name"]

_MOST_FOLDS = 20


def check_fractions(val_fraction: float, test_fraction: float) -> dict[str, float]:
    """Fractions of the three sections.

    Returns:
        Section name to fraction, adding up to 1.

    Raises:
        ValueError: a fraction is negative or nothing is left for training.
    """
    if val_fraction < 0 or test_fraction < 0 or val_fraction + test_fraction >= 1:
        raise ValueError(
            f"split: val_fraction {val_fraction} and test_fraction {test_fraction} must not be negative and must "
            "add up to "
            "less than 1; choose for example 0.1 and 0.2."
        )
    return {"training": 1 - val_fraction - test_fraction, "validation": val_fraction, "test": test_fraction}


def deal_sections(
    labels: Mapping[str, Sequence[int]],
    groups: Mapping[str, str],
    classes: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Deal items to sections.

    Args:
        labels: item key to its class indices (one for exclusive classes, any number for several labels).
        groups: item key to its group; an absent key is a group of its own.
        classes: class names.
        fractions: section name to the share of items it should get; sections of share 0 stay empty.
        seed: another seed, another split.

    Returns:
        Item key to section name. The shares are kept as nearly as whole groups allow.

    Raises:
        ValueError: a class has fewer groups than there are sections.

    Example:
        >>> keys = [f"{n}.png" for n in range(10)]
        >>> sections = deal_sections({k: [0] for k in keys}, {}, ["a"], check_fractions(0.2, 0.2), seed=0)
        >>> [list(sections.values()).count(name) for name in ("training", "validation", "test")]
        [6, 2, 2]
    """
    keys = sorted(labels)
    group_of = {key: f"group:{groups[key]}" if key in groups else f"image:{key}" for key in keys}
    active = [name for name in SECTIONS if fractions.get(name, 0) > 0]
    for index, class_name in enumerate(classes):
        holders = {group_of[key] for key in keys if index in labels[key]}
        if len(holders) < len(active):
            raise ValueError(
                f"split: class {class_name!r} has {len(holders)} separate group(s) or image(s), fewer than the "
                f"{len(active)} sections {', '.join(active)}; add images, set a fraction to 0, or give a split column."
            )
    dealt = dict.fromkeys(keys, "training")
    rest, share = keys, 1.0
    for section in ("test", "validation"):
        fraction = fractions.get(section, 0)
        if fraction > 0:
            taken = _take(rest, labels, group_of, fraction / share, seed)
            dealt.update(dict.fromkeys(taken, section))
            rest = [key for key in rest if key not in taken]
            share -= fraction
    for index, class_name in enumerate(classes):
        for section in active:
            _lend_rare_class(index, class_name, section, keys, labels, group_of, dealt)
    return dealt


def _lend_rare_class(
    index: int,
    class_name: str,
    section: str,
    keys: Sequence[str],
    labels: Mapping[str, Sequence[int]],
    group_of: Mapping[str, str],
    dealt: dict[str, str],
) -> None:
    """Where a class is so rare that stratification left it out of a section, move its smallest group there."""
    holders: dict[str, set[str]] = {}  # section -> groups of this class
    for key in keys:
        if index in labels[key]:
            holders.setdefault(dealt[key], set()).add(group_of[key])
    if section in holders:
        return
    richest = max(sorted(holders), key=lambda name: len(holders[name]))
    if len(holders[richest]) < 2:
        raise ValueError(
            f"split: class {class_name!r} cannot get an image in {section}, its groups are too few; try another seed, add "
            "images, or give a split column."
        )
    sizes = Counter(group_of[key] for key in keys)
    moved = min(sorted(holders[richest]), key=lambda name: sizes[name])
    dealt.update({key: section for key in keys if group_of[key] == moved})


def _take(
    keys: Sequence[str], labels: Mapping[str, Sequence[int]], group_of: Mapping[str, str], fraction: float, seed: int
) -> set[str]:
    """About this fraction of the items, whole groups, stratified."""
    strata = label_strata([tuple(sorted(labels[key])) for key in keys])
    groups = [group_of[key] for key in keys]
    if len(set(groups)) == len(groups):
        least = len(set(strata))
        count = min(max(round(fraction * len(keys)), least), len(keys) - least)
        _, taken = train_test_split(list(keys), test_size=count, stratify=strata, random_state=seed)
        return set(taken)
    most = max(2, min(_MOST_FOLDS, len(set(groups))))
    folds, wanted = min(
        ((n, max(1, round(fraction * n))) for n in range(2, most + 1)),
        key=lambda pair: (abs(pair[1] / pair[0] - fraction), pair[0]),
    )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        held_out = [test for _, test in splitter.split(keys, strata, groups)]
    return {keys[i] for fold in held_out[:wanted] for i in fold}


def label_strata(combinations: Sequence[tuple[int, ...]]) -> list[str]:
    """One name per combination of labels; combinations with fewer than three items share one."""
    counts = Counter(combinations)
    common = [c for c in combinations if counts[c] >= 3]
    if not common:
        return ["all"] * len(combinations)
    largest = Counter(common).most_common(1)[0][0]
    rare = sum(1 for c in combinations if counts[c] < 3)
    pool = "rare" if rare >= 3 else str(largest)
    return [str(c) if counts[c] >= 3 else pool for c in combinations]


def section_of_name(name: str) -> str | None:
    """The section that a user's split or folder name means, in any case; None for any other name.

    Example:
        >>> section_of_name("Val"), section_of_name("holdout")
        ('validation', None)
    """
    known = {"train": "training", "val": "validation", "valid": "validation", "testing": "test"}
    lowered = name.strip().lower()
    meant = known.get(lowered, lowered)
    return meant if meant in SECTIONS else None
