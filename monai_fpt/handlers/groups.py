"""Scores per patient where a patient has several images: the images' probabilities are put together first.

Decisions:

* ``mean``: the mean probability of each class over a patient's images. ``max``: the largest, for findings that one view
  shows; for exclusive classes the largest values are divided by their sum, so that they add up to one again.
* A patient has one label. With several findings a patient has those of any of his images. With exclusive classes images
  of one patient that differ are an error: what is one thing must be said by the group column (a breast, a lesion).
* The scores stand beside those of the images under ``patient_...``, in the progress line, in MLflow and in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers._rows import PredictionRow, RowCollector
from monai_fpt.handlers.predictions import FPTPredictionSaver
from monai_fpt.metrics.functional import classification_scores
from monai_fpt.metrics.inputs import checked_task

__all__ = ["FPTGroupScores", "fpt_require_one_label", "grouped_rows"]

AGGREGATES = ("mean", "max")
PREFIX = "patient_"


class FPTGroupScores(RowCollector):
    """Put the images of every patient together and score patients, when an evaluator completes.

    Attach it before the handlers that report metrics.

    Args:
        path: CSV file of patients, as :class:`~monai_fpt.handlers.predictions.FPTPredictionSaver` writes one of images.
        classes: names of the K classes in the order of the probabilities.
        task: ``"multiclass"`` or ``"multilabel"``.
        aggregate: ``"mean"`` or ``"max"``.

    Raises:
        ValueError: an unknown aggregate, or class names that cannot be.
    """

    def __init__(
        self, path: str | Path, classes: Sequence[str], task: str = "multiclass", aggregate: str | None = "mean"
    ) -> None:
        if aggregate not in AGGREGATES:
            raise ValueError(
                f"aggregate={aggregate!r} is not one of {', '.join(AGGREGATES)}; choose one, or leave it out."
            )
        self.aggregate = aggregate
        self.task = checked_task(task)
        self._saver = FPTPredictionSaver(path, classes, task)
        super().__init__()

    def finished(self, engine: Any, rows: list[PredictionRow]) -> None:
        """Score the patients, add the scores to the engine's metrics, and write the table (rank 0).

        Raises:
            ValueError: images of one patient have different exclusive labels.
            OSError: the table cannot be written.
        """
        rows = grouped_rows(rows, self.aggregate, self.task)
        labelled = [row for row in rows if row.label is not None]
        if labelled:
            probabilities = np.array([row.probabilities for row in labelled])
            labels = np.array([row.label for row in labelled])
            scores = classification_scores(probabilities, labels, task=self.task)
            engine.state.metrics.update({f"{PREFIX}{name}": value for name, value in scores.items()})
        if process_rank() == 0:
            replace_file_content(self._saver.path, self._saver.table(rows, "patient").encode())


def fpt_require_one_label(items: Sequence[Mapping[str, Any]], aggregate: str | None, task: str = "multiclass") -> None:
    """Refuse, before anything expensive, to score patients whose images have different exclusive labels.

    Args:
        items: of a data list.
        aggregate: ``"mean"``, ``"max"``, or None, with which nothing is checked.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        ValueError: there is such a patient.
    """
    if aggregate is not None and task == "multiclass":
        rows = [PredictionRow(str(i["key"]), (1.0,), i.get("label"), str(i.get("group", i["key"]))) for i in items]
        grouped_rows(rows, "mean", task)


def grouped_rows(rows: Sequence[PredictionRow], aggregate: str, task: str) -> list[PredictionRow]:
    """One row a patient, in the order of their first images.

    Args:
        rows: of images.
        aggregate: ``"mean"`` or ``"max"``.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        ValueError: images of one patient have different exclusive labels.
    """
    members: dict[str, list[PredictionRow]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row.group if row.group is not None else f"image {number}", []).append(row)
    return [_one_row(group, found, aggregate, task) for group, found in members.items()]


def _one_row(group: str, rows: list[PredictionRow], aggregate: str, task: str) -> PredictionRow:
    values = np.array([row.probabilities for row in rows])
    together = values.mean(axis=0) if aggregate == "mean" else values.max(axis=0)
    if aggregate == "max" and task == "multiclass":
        together = together / together.sum()
    labels = [row.label for row in rows if row.label is not None]
    label: int | tuple[int, ...] | None = labels[0] if labels else None
    if task == "multilabel" and labels:
        label = tuple(int(v) for v in np.array(labels).reshape(len(labels), -1).max(axis=0))
    elif len(set(labels)) > 1:
        raise ValueError(
            f"{len(rows)} images of one patient or group have the different labels {sorted(map(str, set(labels)))} (first image "
            f"{rows[0].key}); leave aggregate out, or name a group_column that tells them apart (a breast, a lesion)."
        )
    return PredictionRow(key=group, probabilities=tuple(together.tolist()), label=label, group=group)
