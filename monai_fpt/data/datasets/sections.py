"""Which image of a public data set belongs to training, validation and test.

``official`` obeys the sections that the data set has; a missing validation section is dealt off the training images.
``grouped`` deals 70/10/20 (the paper's shares), stratified, and tears no patient or lesion apart. ``image`` deals
image by image, as the paper's program does where there are no official sections, and says that this leaks.

Decisions:

* The split is that of :mod:`monai_fpt.data.split`. Images are numbered in the order of their keys without regard to
  case, so neither the file system nor the case of a suffix changes it.
* A partial copy may have fewer groups of a class than there are sections. It still loads: such a list is dealt group
  by group, the rarest class first, to training, then test, then validation; what a section lacks is warned of.
* Items of one section all carry the same entries, because a data loader stacks them: an unknown fact is empty text,
  an unknown group the image alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monai_fpt.data.datalist import SECTIONS
from monai_fpt.data.datasets.published import FPTFoundImages
from monai_fpt.data.split import check_fractions, deal_sections

__all__ = ["SPLITS", "deal_found_images"]

SPLITS = ("auto", "official", "grouped", "image")
_RESERVED = ("image", "key", "label", "group", "frame")


def deal_found_images(
    found: FPTFoundImages, title: str, split: str, seed: int, val_fraction: float, test_fraction: float
) -> tuple[dict[str, list[dict[str, Any]]], str, list[str]]:
    """Deal what a loader found.

    Args:
        found: the images; with official sections, all of them or none.
        title: the data set's, for messages.
        split: one of ``SPLITS``.
        seed: another seed, another split.
        val_fraction: share for validation, of all images, or of the training images of an official split.
        test_fraction: share for the test; an official test section stays as it is.

    Returns:
        Section name to items, the way they were dealt in words, and warnings.

    Raises:
        ValueError: an unknown split, or an official one that the copy does not have.
    """
    if split not in SPLITS:
        raise ValueError(f"{title}: split is {split!r}; choose one of {SPLITS}.")
    fractions = check_fractions(val_fraction, test_fraction)
    if split == "official" or (split == "auto" and found.sections):
        sections, told, lacking = _official(found, title, seed, val_fraction)
        if found.groups_are_suspected:
            sections = {n: [{k: v for k, v in i.items() if k != "group"} for i in s] for n, s in sections.items()}
        return sections, told, lacking
    warned = []
    grouped = any("group" in item for item in found.items)
    if split == "image":
        warned.append(f"split image by image: {found.leakage or 'no groups are known'}; scores may be too good")
    elif not grouped:
        warned.append(
            f"no groups are known, so the split is image by image: {found.leakage or 'each image stands for itself'}"
        )
    sections, lacking = _dealt(found.items, found.classes, fractions, seed, by_image=split == "image")
    told = f"{fractions['training']:.0%}/{val_fraction:.0%}/{test_fraction:.0%} by "
    told += "image" if split == "image" or not grouped else "group"
    return _uniform(sections), f"{told}, seed {seed}", warned + lacking


def _official(
    found: FPTFoundImages, title: str, seed: int, val_fraction: float
) -> tuple[dict[str, list[dict[str, Any]]], str, list[str]]:
    """The sections that the data set has."""
    if not found.sections:
        raise ValueError(f"{title}: this copy has no official split; leave split out, or choose 'grouped' or 'image'.")
    sections = {name: [i for i in found.items if found.sections[i["key"]] == name] for name in SECTIONS}
    absent = [name for name in ("training", "test") if not sections[name]]
    if absent:
        raise ValueError(
            f"{title}: this copy has no images of the official section(s) {', '.join(absent)}; complete it, or choose "
            "split='grouped'."
        )
    if sections["validation"] or val_fraction == 0:
        ordered = {name: _in_order(items) for name, items in sections.items()}
        return _uniform(ordered), "official", _classes_lacking(ordered, found.classes)
    fractions = check_fractions(val_fraction, 0)
    dealt, _ = _dealt(sections["training"], found.classes, fractions, seed, by_image=False)
    dealt["test"] = _in_order(sections["test"])
    told = f"official, validation is {val_fraction:.0%} of its training images, seed {seed}"
    return _uniform(dealt), told, _classes_lacking(dealt, found.classes)


def _dealt(
    items: Sequence[dict[str, Any]],
    classes: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
    *,
    by_image: bool,
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Items by section, and warnings of what a section lacks."""
    ordered = _in_order(items)
    number_of = {item["key"]: f"{number:08d}" for number, item in enumerate(ordered)}
    labels = {number_of[item["key"]]: _labels_of(item) for item in ordered}
    groups = {number_of[i["key"]]: str(i["group"]) for i in ordered if "group" in i and not by_image}
    try:
        dealt = deal_sections(labels, groups, classes, fractions, seed)
    except ValueError:  # a class with fewer groups than sections: a partial copy
        dealt = _deal_sparse(labels, groups, fractions, seed)
    sections = {name: [i for i in ordered if dealt[number_of[i["key"]]] == name] for name in SECTIONS}
    active = [name for name in SECTIONS if fractions[name] > 0]
    return sections, _classes_lacking({name: sections[name] for name in active}, classes)


def _deal_sparse(
    labels: Mapping[str, Sequence[int]], groups: Mapping[str, str], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Sections of items of which a class has fewer groups than there are sections."""
    kinds = {key: list(labels[key]) or [-1] for key in sorted(labels)}  # -1: several labels, none of them true
    members: dict[str, list[str]] = {}
    for key in kinds:
        members.setdefault(f"group:{groups[key]}" if key in groups else f"image:{key}", []).append(key)
    holders = Counter(kind for keys in members.values() for kind in {k for key in keys for k in kinds[key]})
    totals = Counter(kind for key in kinds for kind in kinds[key])
    order = sorted(members)
    random.Random(seed).shuffle(order)
    rarest = {
        n: min((k for key in keys for k in kinds[key]), key=lambda k: (holders[k], k)) for n, keys in members.items()
    }
    order.sort(key=lambda name: (holders[rarest[name]], rarest[name]))
    active = [name for name in ("training", "test", "validation") if fractions[name] > 0]
    had: Counter[tuple[str, int]] = Counter()
    dealt: dict[str, str] = {}
    for name in order:
        kind = rarest[name]
        empty = [section for section in active if not had[section, kind]]
        deficits = {section: fractions[section] * totals[kind] - had[section, kind] for section in active}
        section = empty[0] if empty else max(active, key=lambda s: deficits[s])
        for key in members[name]:
            dealt[key] = section
            had.update((section, label) for label in kinds[key])
    return dealt


def _in_order(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: (str(item["key"]).casefold(), str(item["key"])))


def _labels_of(item: Mapping[str, Any]) -> list[int]:
    label = item["label"]
    return [label] if isinstance(label, int) else [index for index, value in enumerate(label) if value]


def _classes_lacking(sections: Mapping[str, Sequence[dict[str, Any]]], classes: Sequence[str]) -> list[str]:
    """A phrase for each section that lacks classes."""
    phrases = []
    for name, items in sections.items():
        present = {index for item in items for index in _labels_of(item)}
        lacking = [classes[index] for index in range(len(classes)) if index not in present]
        if lacking:
            phrases.append(f"section {name} has no image of {', '.join(lacking)}")
    return phrases


def _uniform(sections: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same entries in every item of the list, and a group in all items of a section or in none."""
    names = list(dict.fromkeys(n for items in sections.values() for i in items for n in i if n not in _RESERVED))
    for items in sections.values():
        grouped = any("group" in item for item in items)
        for position, item in enumerate(items):
            facts = {name: item.get(name, "") for name in names}
            known = {name: item[name] for name in _RESERVED if name in item}
            own = {"group": f"image {item['key']}"} if grouped and "group" not in item else {}
            items[position] = known | own | facts
    return sections
