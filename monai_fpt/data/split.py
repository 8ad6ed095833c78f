"""Splitting into training, validation and test: by group, stratified, and the same everywhere.

What is divided are **groups** (patients; an image without one is a group of its own), so no patient is on both sides.
Decisions:

* Iterative stratification: the rarest class is dealt out first, its largest groups first, each to the section that
  lacks most of that class. It serves exclusive classes, several labels and groups of unequal size with one rule.
* First every section with a fraction gets one group of every class, training before test before validation, so that a
  rare class is represented everywhere; a class with fewer groups than sections is an error.
* The order is drawn by hashing seed and group name. It depends neither on the order of the files nor on the version
  of a random generator or of scikit-learn (whose grouped splitter knows neither several labels nor fractions other
  than 1/n).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from monai_fpt.data.datalist import SECTIONS

__all__ = ["check_fractions", "deal_sections", "section_of_name"]

_PRESENCE_ORDER = ("training", "test", "validation")


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
    members: dict[str, list[str]] = {}
    for key in sorted(labels):
        name = f"group:{groups[key]}" if key in groups else f"image:{key}"
        members.setdefault(name, []).append(key)
    rest_class = len(classes)  # images without any label are a class of their own for balancing
    content = {name: _count_classes([labels[key] for key in keys], rest_class) for name, keys in members.items()}
    order = sorted(members, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    active = [name for name in _PRESENCE_ORDER if fractions.get(name, 0) > 0]
    holders = {index: [name for name in order if index in content[name]] for index in range(rest_class + 1)}
    for index, class_name in enumerate(classes):
        if len(holders[index]) < len(active):
            raise ValueError(
                f"split: class {class_name!r} has {len(holders[index])} separate group(s) or image(s), fewer than the "
                f"{len(active)} sections {', '.join(active)}; add images, set a fraction to 0, or give a split column."
            )
    totals = {index: sum(content[name][index] for name in holders[index]) for index in holders}
    need = {(section, index): fractions[section] * totals[index] for section in active for index in holders}
    room = {section: fractions[section] * len(labels) for section in active}
    dealt: dict[str, str] = {}

    def deal(name: str, section: str) -> None:
        dealt[name] = section
        room[section] -= len(members[name])
        for index, count in content[name].items():
            need[section, index] -= count

    by_rarity = sorted(range(len(classes)), key=lambda index: (len(holders[index]), index))
    for index in by_rarity:
        present = {dealt[name] for name in holders[index] if name in dealt}
        for section in active:
            free = [name for name in holders[index] if name not in dealt]
            if section not in present and free:
                deal(min(free, key=lambda name: len(members[name])), section)
    for index in [*by_rarity, rest_class]:
        for name in sorted(holders[index], key=lambda name: -content[name][index]):
            if name not in dealt:
                deal(name, max(active, key=lambda section: (need[section, index], room[section])))
    return {key: dealt[name] for name, keys in members.items() for key in keys}


def _count_classes(labels: Sequence[Sequence[int]], rest_class: int) -> dict[int, int]:
    """Number of items of each class in one group."""
    counts: dict[int, int] = {}
    for indices in labels:
        for index in indices or [rest_class]:
            counts[index] = counts.get(index, 0) + 1
    return counts


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
