"""Which labelled images a retraining learns from, and which it is judged by.

Decisions:

- The section follows from a **hash of the group** (patient; an image without one is a group of its own), not from a draw
  over the list. As labels come in, no patient moves; an image that one model learned from never judges the next.
- Files of the same content are one image, under whatever names and patients, and never lie on both sides; without a patient their
  content is the group.
- What the trainings did that **made a version** is remembered with the labels, and wins over the hash: where an image has become
  part of another group since, because a patient was entered later, it stays where it was. Groups that were joined and lay on
  both sides go to training, since they were learned from, and that is said. What was learned by a training that published nothing is
  gone with it, and says nothing of where an image may lie.
- An image counts although its label was removed since, or the image itself, or although it has another name now: a model has learned
  from it, so no image of its patient or content may judge. Its patient is the one that is known today and the one that the history names.
- So does what the model that the app began with has learned from, where its run says that.
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
        contents: SHA-256 of images, to their section.
    """

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    contents: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def joined(self, other: RecordedSections) -> RecordedSections:
        """What either of them says; ``"training"`` where one does."""
        pairs = ((self.keys, other.keys), (self.groups, other.groups), (self.contents, other.contents))
        return RecordedSections(
            *({**one, **another, **{n: s for n, s in one.items() if s == "training"}} for one, another in pairs)
        )


@dataclasses.dataclass(frozen=True)
class LabelSplit:
    """Labelled images in two sections.

    Attributes:
        training: items of a data list.
        validation: likewise.
        moved: keys of images that lay in validation before and are in training now, see above.
        learned: keys of images that would judge by their hash, and do not since a model has learned from them, from a copy or from
            their patient.
        units: key to the name of what must not be torn: a patient, or a content.
    """

    training: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]
    moved: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        items: of a data list, with ``"key"``, ``"label"`` and, where known, ``"group"`` and ``"sha256"`` of the file.
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
    ordered = sorted(items, key=lambda item: str(item["key"]))
    known = _known(recorded, patients or {})
    units = _units(ordered)
    sections: dict[str, list[Mapping[str, Any]]] = {"training": [], "validation": []}
    moved, learned = [], []
    for item in ordered:
        key, unit = str(item["key"]), units[_names(item)[0]]
        seen = {section for name in unit for section in known.get(name, ())}
        by_hash = hashed_section(unit[0], val_fraction)
        section = "training" if "training" in seen else "validation" if seen else by_hash
        sections[section].append(item)
        if section == "training" and recorded.keys.get(key) == "validation":
            moved.append(key)
        elif section == "training" and by_hash == "validation":
            learned.append(key)
    named = {str(item["key"]): units[_names(item)[0]][0] for item in ordered}
    return LabelSplit(
        tuple(sections["training"]), tuple(sections["validation"]), tuple(moved), tuple(learned), units=named
    )


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
            learned = (
                f"; {len(split.learned)} images do not judge, as a model has learned from them or from their patients"
                if split.learned
                else ""
            )
            return (
                f"Of the {len(everything)} labelled images none that the model would {section} is {_listed(missing, 'or')} "
                f"(patients are dealt by a fixed rule, one in five to judge{learned}); label more and train again."
            )
    return None


def _names(item: Mapping[str, Any]) -> list[str]:
    """What an image is known by: those that have one of these in common are never torn. The first is what its section follows from."""
    found = [("group", item.get("group")), ("content", item.get("sha256")), ("image", item["key"])]
    return [f"{kind}:{name}" for kind, name in found if name not in (None, "")]


def _units(items: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Every name of the images, to all names of the images that must lie on its side; a patient's stands first."""
    units: dict[str, list[str]] = {}
    for item in items:
        together = list(dict.fromkeys(other for name in _names(item) for other in units.get(name, [name])))
        together.sort(key=lambda name: (not name.startswith("group:"), not name.startswith("content:"), name))
        units.update(dict.fromkeys(together, together))
    return units


def _known(recorded: RecordedSections, patients: Mapping[str, str]) -> dict[str, set[str]]:
    """Names as of :func:`_names`, to the sections in which trainings had them."""
    kinds = (("image", recorded.keys), ("group", recorded.groups), ("content", recorded.contents))
    known = {f"{kind}:{name}": {section} for kind, sections in kinds for name, section in sections.items()}
    for key, section in recorded.keys.items():
        if patients.get(key) not in (None, ""):
            known.setdefault(f"group:{patients[key]}", set()).add(section)
    return known


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
