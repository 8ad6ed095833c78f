"""The predictions of an evaluation as a table that a person can open.

MONAI's ``ClassificationSaver`` writes no header and no class names and keeps one row per file name. This one writes
``image,label,predicted`` and one probability column per class, one row per sample in the order of the data. The file
appears whole when the evaluation is over, or not at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from monai_fpt._files import file_sha256
from monai_fpt.features import FeatureDataset
from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers._rows import PredictionRow, RowCollector
from monai_fpt.handlers.checkpoint import unwrapped_network
from monai_fpt.metrics.inputs import checked_task
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.weights import fpt_weights_sha256

__all__ = ["FPTPredictionSaver"]

RESERVED = ("image", "patient", "label", "predicted")
NO_FACTS = {"image", "key", "label", "group", "frame", "class_name"}
THRESHOLD = 0.5
SEPARATOR = ";"


class FPTPredictionSaver(RowCollector):
    """Write a CSV file of predictions when an evaluator completes.

    Columns: ``image`` (the sample's ``key``), ``label`` (only when any sample has one), ``predicted``, then the
    probability of every class under its name. For multilabel, ``label`` and ``predicted`` are the names of the findings
    joined by ``;``, predicted at 0.5.

    Args:
        path: the CSV file; its folder is made when missing.
        classes: names of the K classes in the order of the probabilities.
        task: ``"multiclass"`` or ``"multilabel"``.
        items: of the data list; with them, and where every sample has a label, logits, labels, patients and facts are also
            kept as :class:`~monai_fpt.metrics.FPTPredictions` beside the table, with the suffix ``.json``, for reports; with them
            the digest of the evaluator's network, and of every image's file as the cache knows it.
        ordered: whether the order of the classes means something.

    Raises:
        ValueError: class names repeat or equal one of the other columns.
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str],
        task: str = "multiclass",
        items: Sequence[Mapping[str, Any]] | None = None,
        ordered: bool = False,
    ) -> None:
        self.path = Path(path)
        self.items = items
        self.ordered = ordered
        self.classes = [str(name) for name in classes]
        self.task = checked_task(task)
        clashing = sorted({name for name in self.classes if self.classes.count(name) > 1 or name in RESERVED})
        if clashing:
            raise ValueError(
                f"the class names {', '.join(map(repr, clashing))} repeat or equal a column ({', '.join(RESERVED)}): "
                "rename them, each is the head of a column."
            )
        super().__init__()

    def finished(self, engine: Any, rows: list[PredictionRow]) -> None:
        """Write the files (rank 0).

        Raises:
            ValueError: a sample has no key, or does not fit the class names.
            OSError: a file cannot be written.
        """
        if process_rank() == 0:
            replace_file_content(self.path, self.table(rows).encode())
            if self.items is not None and rows and all(row.label is not None and row.logits for row in rows):
                self._predictions(rows, engine).save(self.path.with_suffix(".json"))

    def _predictions(self, rows: list[PredictionRow], engine: Any) -> FPTPredictions:
        network = getattr(engine, "network", None)
        listed = {str(item["key"]): item for item in self.items or ()}
        own = [listed.get(str(row.key), {}) for row in rows]
        return FPTPredictions(
            keys=tuple(str(row.key) for row in rows),
            groups=tuple(str(row.group) for row in rows),
            labels=np.array([row.label for row in rows]),
            logits=np.array([row.logits for row in rows]),
            classes=tuple(self.classes),
            task=self.task,
            ordered=self.ordered,
            facts=facts_of(own),
            weights_sha256=fpt_weights_sha256(unwrapped_network(network)) if isinstance(network, nn.Module) else "",
            contents=contents_of(own, getattr(getattr(engine, "data_loader", None), "dataset", None)),
        )

    def table(self, rows: list[PredictionRow], first: str = "image") -> str:
        """The rows as CSV text, under ``first`` the name of each.

        Raises:
            ValueError: a sample has no key, or does not fit the class names.
        """
        labelled = any(row.label is not None for row in rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([first, *(["label"] if labelled else []), "predicted", *self.classes])
        for number, row in enumerate(rows):
            self._check(number, row)
            label = [self._names(row.label)] if labelled else []
            writer.writerow([row.key, *label, self._decision(row), *(f"{p:.9g}" for p in row.probabilities)])
        return text.getvalue()

    def _check(self, number: int, row: PredictionRow) -> None:
        if row.key is None:
            raise ValueError(f"sample {number} has no 'key' to name its row by: let the data set give one.")
        if len(row.probabilities) != len(self.classes):
            raise ValueError(
                f"{row.key} has {len(row.probabilities)} probabilities but there are {len(self.classes)} class names "
                f"({', '.join(self.classes)}): give one name for each output of the network."
            )
        wrong = isinstance(row.label, int) and row.label >= len(self.classes)
        if wrong or (isinstance(row.label, tuple) and len(row.label) != len(self.classes)):
            raise ValueError(
                f"{row.key} has the label {row.label}, which does not fit {len(self.classes)} class names."
            )

    def _decision(self, row: PredictionRow) -> str:
        if self.task == "multilabel":
            return self._names(tuple(int(p >= THRESHOLD) for p in row.probabilities))
        return self.classes[max(range(len(self.classes)), key=row.probabilities.__getitem__)]

    def _names(self, label: int | tuple[int, ...] | None) -> str:
        """A label in words; an absent or negative one is unknown and empty."""
        if label is None or (isinstance(label, int) and label < 0):
            return ""
        if isinstance(label, int) and self.task == "multiclass":
            return self.classes[label]
        marks = (label,) if isinstance(label, int) else label
        return SEPARATOR.join(name for name, mark in zip(self.classes, marks, strict=True) if mark)


def facts_of(items: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """What a data list knows of its images beside label and patient, a column each; empty where an image lacks it."""
    names = sorted({name for item in items for name in item} - NO_FACTS)
    return {name: tuple(str(item.get(name, "")) for item in items) for name in names}


def contents_of(items: Sequence[Mapping[str, Any]], dataset: Any) -> tuple[str, ...]:
    """Digest of each item's file, and its frame: from the cache, which has read every file, else from the file; none where one lacks."""
    known: dict[str, str] = {}
    if isinstance(dataset, FeatureDataset):
        known = {str(item["key"]): entry.sha256 for item, entry in zip(dataset.data, dataset.entries(), strict=True)}
    found = []
    for item in items:
        digest = known.get(str(item.get("key")))
        if digest is None:
            if not isinstance(item.get("image"), str | Path) or not Path(item["image"]).is_file():
                return ()
            digest = file_sha256(item["image"])
        found.append(digest if item.get("frame") is None else f"{digest}#{item['frame']}")
    return tuple(found)
