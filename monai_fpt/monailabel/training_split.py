"""Which labelled images a retraining learns from, and which it is judged by.

Decisions:

- The section follows from a **hash of the group** (patient; an image without one is a group of its own), not from a draw
  over the list. As labels come in, no patient moves; an image that one model learned from never judges the next.
- What an earlier training did is remembered with the labels, and wins over the hash: where an image has become part of
  another group since, because a patient was entered later, it stays where it was. Groups that were joined and lay on
  both sides go to training, since they were learned from, and that is said.
- An image counts although its label was removed since, or the image itself: a model has learned from it, so no image of its
  patient may judge. Its patient is the one that is known today and the one that the history names.
- A hash deals without regard to classes. Where it leaves a class without enough images on a side, that is one sentence
  that says what to label, and no training: a score of a class that is not there would be no score.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LabelSplit", "RecordedSections", "class_counts", "hashed_section", "split_labels", "split_problem"]


@dataclasses.dataclass(frozen=True)
class RecordedSections:
    """What earlier trainings did; ``"training"`` where any of them learned from it.

    Attributes:
        keys: of images, to their section.
        groups: patients as they were named then, to their section.
    """

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LabelSplit:
    """Labelled images in two sections.

    Attributes:
        training: items of a data list.
        validation: likewise.
        moved: keys of images that lay in validation before and are in training now, see above.
    """

    training: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]
    moved: tuple[str, ...] = ()

    def sections(self) -> dict[str, str]:
        """Key to section."""
        both = (("training", self.training), ("validation", self.validation))
        return {str(item["key"]): name for name, items in both for item in items}


def hashed_section(group: str, val_fraction: float) -> str:
    """``"training"`` or ``"validation"``, always the same for a group.

    Args:
        group: a patient, or what else must not be torn.
        val_fraction: share of groups in validation, 0 to 1.

    Example:
        >>> {name: hashed_section(name, 0.2) for name in ("patient 1", "patient 9")}
        {'patient 1': 'training', 'patient 9': 'validation'}
    """
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "validation" if number < val_fraction else "training"


def split_labels(
    items: Sequence[Mapping[str, Any]],
    val_fraction: float = 0.2,
    recorded: RecordedSections | None = None,
    patients: Mapping[str, str] | None = None,
) -> LabelSplit:
    """Divide labelled images.

    Args:
        items: of a data list, with ``"key"``, ``"label"`` and, where known, ``"group"``.
        val_fraction: share of groups in validation.
        recorded: by earlier trainings.
        patients: key to group as it is known today, of recorded images too that have no label any more.

    Returns:
        The items in two sections, in the order of their keys.

    Raises:
        ValueError: ``val_fraction`` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction} must lie above 0 and below 1; choose for example 0.2.")
    recorded = recorded or RecordedSections()
    before = recorded.keys
    ordered = sorted(items, key=lambda item: str(item["key"]))
    today = {key: group for key, group in (patients or {}).items() if group not in (None, "")}
    groups = {key: _group({"key": key, "group": today.get(key)}) for key in before}
    groups |= {str(item["key"]): _group(item) for item in ordered}
    known = {f"group:{group}": {section} for group, section in recorded.groups.items()}
    for key, section in before.items():
        known.setdefault(groups[key], set()).add(section)
    sections: dict[str, list[Mapping[str, Any]]] = {"training": [], "validation": []}
    moved = []
    for item in ordered:
        group, key = _group(item), str(item["key"])
        seen = known.get(group, set())
        section = "training" if "training" in seen else "validation" if seen else hashed_section(group, val_fraction)
        sections[section].append(item)
        if before.get(key) == "validation" and section == "training":
            moved.append(key)
    return LabelSplit(tuple(sections["training"]), tuple(sections["validation"]), tuple(moved))


def class_counts(items: Sequence[Mapping[str, Any]], num_classes: int) -> list[int]:
    """Images with each class; of several labels an image counts for each."""
    counts = [0] * num_classes
    for item in items:
        label = item["label"]
        for index in [label] if isinstance(label, int) else [i for i, value in enumerate(label) if value]:
            counts[index] += 1
    return counts


def split_problem(
    split: LabelSplit, classes: Sequence[str], min_labels: int, task: str = "multiclass", judged: bool = True
) -> str | None:
    """Why these labels cannot be trained on, as one sentence for a reader; None where they can.

    Args:
        split: from :func:`split_labels`.
        classes: names of the classes.
        min_labels: labels that each class must have in training and validation together.
        task: with ``"multilabel"`` every class must also be absent somewhere.
        judged: whether the result has to be compared; not so for the first model, which takes the place of none.
    """
    everything = (*split.training, *split.validation)
    if not everything:
        return "No image has a label yet; label some of each class and train again."
    counts = class_counts(everything, len(classes))
    few = [f"{name!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < min_labels]
    if few:
        return (
            f"Training needs {min_labels} labels of each class, and {_listed(few)}; "
            f"label more of {'it' if len(few) == 1 else 'them'} and train again."
        )
    sections = [("learn from", split.training), ("be judged by", split.validation)]
    for section, items in sections if judged else sections[:1]:
        counts = class_counts(items, len(classes))
        missing = [repr(name) for name, count in zip(classes, counts, strict=True) if count == 0]
        if task == "multilabel":
            missing += [
                f"none but {name!r}" for name, n in zip(classes, counts, strict=True) if items and n == len(items)
            ]
        if missing:
            return (
                f"Of the {len(everything)} labelled images none that the model would {section} is {_listed(missing, 'or')} "
                "(patients are dealt by a fixed rule, one in five to judge); label more and train again."
            )
    return None


def _group(item: Mapping[str, Any]) -> str:
    group = item.get("group")
    return f"group:{group}" if group not in (None, "") else f"image:{item['key']}"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
