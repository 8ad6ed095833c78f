"""FPTDataList: which image has which label and which section it belongs to, independent of the machine.

A data list is the one thing that folders and tables are turned into and that training, caching and evaluation read.
Decisions:

* An image's identity is its **key**, its path relative to the data set's root with forward slashes. Keys are unique,
  so two images of the same name in different folders stay two images, and a saved list is read back under another root.
* Labels are numbers into ``classes``; the class list belongs to the list and never follows from which folders happen
  to be there.
* ``digest`` names the content (task, classes, and every section, key, label and group), not the order nor the place
  on disk; a cache or a checkpoint that carries it can tell whether it was made from the same list.
* ``group`` is what must not be torn between sections: a patient, a lesion.
* ``frame`` says which frame or slice of a file is meant; it belongs to the key (``scan.nii.gz#12``). What else an item
  carries (laterality, view, age, ...) is plain and is saved with the list, for preprocessing may depend on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_fpt._files import write_whole

__all__ = ["SECTIONS", "TASKS", "FPTDataList", "data_item"]

SECTIONS = ("training", "validation", "test")
TASKS = ("multiclass", "multilabel")
_FILE_FORMAT = "monai_fpt.data_list"
_FILE_VERSION = 1


def data_item(
    root: Path,
    path: Path,
    label: int | list[float] | None = None,
    group: str | None = None,
    *,
    frame: int | None = None,
    facts: Mapping[str, str | int | float | bool] | None = None,
) -> dict[str, Any]:
    """One item of a data list.

    Args:
        root: absolute root of the data set.
        path: absolute path of the image. Outside ``root`` the key climbs (``../other/a.png``).
        label: class index, or K zeros and ones for several labels, or None for an unlabelled image.
        group: patient or lesion, None where unknown.
        frame: frame or slice of the file, counted from 0; None where the file holds one image.
        facts: what else is known of the image, under names of its own (``laterality``, ``view``, ``age``, ...).

    Returns:
        ``{"image": absolute path, "key": relative path, "label": ..., "group": ..., "frame": ...}`` and the facts;
        ``label``, ``group`` and ``frame`` only where known. The key of a frame is ``path#frame``.

    Raises:
        ValueError: a fact has the name of one of the other entries.
    """
    key = Path(os.path.relpath(path, root)).as_posix()
    item: dict[str, Any] = {"image": str(path), "key": key if frame is None else f"{key}#{frame}"}
    known = {"label": label, "group": group, "frame": frame}
    item |= {name: value for name, value in known.items() if value is not None}
    clashing = sorted({"image", "key", *known} & set(facts or {}))
    if clashing:
        raise ValueError(f"data list: {clashing} cannot be names of facts of image {key!r}; rename them.")
    return item | dict(facts or {})


@dataclass(frozen=True)
class FPTDataList:
    """Images and labels in three sections.

    Args:
        classes: class names; a label is an index into them. Empty for unlabelled images.
        training: items ``{"image": str, "key": str, "label": int | list[float], "group": str}``, see :func:`data_item`.
        validation: likewise.
        test: likewise.
        task: ``"multiclass"`` (exclusive classes, two of them included; labels are int) or ``"multilabel"`` (labels
            are K floats, 0 or 1).
        ordered: whether the order of exclusive classes means something, as grades of a disease do.

    Raises:
        ValueError: an unknown task, repeated class names or keys, or a label that does not fit the classes.
    """

    classes: tuple[str, ...]
    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    test: list[dict[str, Any]]
    task: str = "multiclass"
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"data list: task is {self.task!r}; choose one of {TASKS}.")
        if self.ordered and self.task != "multiclass":
            raise ValueError("data list: several labels of an image have no order; leave ordered out.")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"data list: a class name occurs twice in {self.classes}; name every class once.")
        seen: set[str] = set()
        for section in SECTIONS:
            for item in self.section(section):
                if item["key"] in seen:
                    raise ValueError(f"data list: image {item['key']!r} occurs twice; keep one of them.")
                seen.add(item["key"])
                self._check_label(item)

    def _check_label(self, item: dict[str, Any]) -> None:
        label = item.get("label")
        count = len(self.classes)
        if label is None:
            fits = count == 0
        elif self.task == "multiclass":
            fits = isinstance(label, int) and 0 <= label < count
        else:
            fits = isinstance(label, list) and len(label) == count and all(value in (0.0, 1.0) for value in label)
        if not fits:
            raise ValueError(
                f"data list: label {label!r} of image {item['key']!r} does not fit task {self.task!r} with {count} "
                "classes; "
                "correct the label or the class list."
            )

    def section(self, name: str) -> list[dict[str, Any]]:
        """The items of one section, ``"training"``, ``"validation"`` or ``"test"``.

        Raises:
            ValueError: an unknown section.
        """
        if name not in SECTIONS:
            raise ValueError(f"data list: there is no section {name!r}; choose one of {SECTIONS}.")
        items: list[dict[str, Any]] = getattr(self, name)
        return items

    @property
    def digest(self) -> str:
        """sha256 (64 hex digits) of task, classes and the sorted (section, key, label, group) of every item, and of the
        laterality and view, which decide how an image is prepared."""
        rows = [
            [name, item["key"], item.get("label"), item.get("group")]
            + [f"{fact}={item[fact]}" for fact in ("laterality", "view") if item.get(fact)]
            for name in SECTIONS
            for item in self.section(name)
        ]
        rows.sort(key=lambda row: (row[0], row[1]))
        told: list[Any] = [self.task, list(self.classes), rows]
        if self.ordered:
            told.append("ordered")
        text = json.dumps(told, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def class_counts(self, section: str) -> list[int]:
        """Images of each class in a section, in the order of ``classes``; with several labels an image counts for
        each of its own.

        Raises:
            ValueError: an unknown section.
        """
        counts = [0] * len(self.classes)
        for item in self.section(section):
            for index in _labels_of(item):
                counts[index] += 1
        return counts

    def summary(self) -> str:
        """A short table: one line a class, one column a section, with totals and, where known, groups."""
        columns = {name: self.class_counts(name) for name in SECTIONS}
        lines: list[tuple[str, ...]] = [("class", *SECTIONS)]
        lines += [(name, *(str(columns[s][index]) for s in SECTIONS)) for index, name in enumerate(self.classes)]
        lines.append(("images", *(str(len(self.section(s))) for s in SECTIONS)))
        groups = [len({item["group"] for item in self.section(s) if "group" in item}) for s in SECTIONS]
        if any(groups):
            lines.append(("groups", *(str(number) for number in groups)))
        width = max(len(line[0]) for line in lines)
        return "\n".join(f"{line[0]:<{width}}" + "".join(f"{cell:>12}" for cell in line[1:]) for line in lines)

    def save(self, path: str | Path) -> None:
        """Write the list as JSON, keys only, in one step (a reader never sees half a file).

        Args:
            path: the file; its folder is made where missing.
        """
        path = Path(path)
        content: dict[str, Any] = {
            "format": _FILE_FORMAT,
            "version": _FILE_VERSION,
            "task": self.task,
            "ordered": self.ordered,
            "classes": list(self.classes),
            "digest": self.digest,
        }
        for name in SECTIONS:
            content[name] = [{k: v for k, v in item.items() if k != "image"} for item in self.section(name)]
        write_whole(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path, root: str | Path) -> FPTDataList:
        """Read a list that :meth:`save` wrote, for images that now lie under ``root``.

        Args:
            path: the JSON file.
            root: the folder that the keys are relative to on this machine.

        Raises:
            FileNotFoundError: the file or an image is missing.
            ValueError: the file is no data list, of a newer version, or was changed after it was written.
        """
        path, root = Path(path), Path(os.path.abspath(root))
        if not path.is_file():
            raise FileNotFoundError(f"data list: there is no file {str(path)!r}; check the path.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"data list: {str(path)!r} is not JSON ({error}); save the list again.") from error
        if not isinstance(content, dict) or content.get("format") != _FILE_FORMAT:
            raise ValueError(f"data list: {str(path)!r} was not written by FPTDataList.save; give a file that was.")
        if content["version"] > _FILE_VERSION:
            raise ValueError(
                f"data list: {str(path)!r} has version {content['version']}, newer than {_FILE_VERSION}; update "
                "monai-fpt."
            )
        sections = {name: [_saved_item(root, row) for row in content[name]] for name in SECTIONS}
        data_list = cls(
            classes=tuple(content["classes"]), task=content["task"], ordered=content.get("ordered", False), **sections
        )
        if data_list.digest != content["digest"]:
            raise ValueError(
                f"data list: {str(path)!r} does not fit its own digest, it was edited; build the list again from "
                "the table."
            )
        require_images((Path(item["image"]) for name in SECTIONS for item in sections[name]), root)
        return data_list


def _saved_item(root: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a saved list as an item under ``root``."""
    key = row["key"] if row.get("frame") is None else row["key"].removesuffix(f"#{row['frame']}")
    return {"image": os.path.abspath(root / key), **row}


def _labels_of(item: dict[str, Any]) -> list[int]:
    """Class indices of an item; none for an unlabelled one."""
    label = item.get("label")
    if label is None:
        return []
    return [label] if isinstance(label, int) else [index for index, value in enumerate(label) if value]


def require_images(paths: Iterable[Path], root: Path) -> None:
    """Raise FileNotFoundError with the count and the first three where images are missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        names = ", ".join(repr(str(path)) for path in missing[:3])
        raise FileNotFoundError(
            f"data list: {len(missing)} image file(s) under root {str(root)!r} are missing, first {names}; "
            "check the root and the names, or take them out of the list."
        )


def refuse_torn_groups(sections: Mapping[str, Iterable[Mapping[str, Any]]], where: str, groups: str) -> None:
    """A patient belongs to one section.

    Args:
        sections: name to items.
        where: what to call the data set in the message.
        groups: where the groups are from.

    Raises:
        ValueError: a group occurs in two sections.
    """
    homes: dict[str, set[str]] = {}
    for section, items in sections.items():
        for item in items:
            if "group" in item:
                homes.setdefault(item["group"], set()).add(section)
    torn = sorted(group for group, found in homes.items() if len(found) > 1)
    if torn:
        raise ValueError(
            f"{where}: {len(torn)} group(s) of {groups} occur in more than one split, for example "
            f"{torn[:3]}; move each "
            "to one split, remove the split column, or pass allow_group_leakage=True and report it."
        )
