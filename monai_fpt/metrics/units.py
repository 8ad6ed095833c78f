"""FPTScoredUnits: what is counted in an evaluation, single images or whole patients, with probabilities before and after
calibration.

Images of a patient are put together as :mod:`monai_fpt.handlers.groups` does: ``mean`` or ``max`` of their probabilities, for
exclusive classes the largest divided by their sum. Calibration comes first, image by image, for that is what it was fitted on.
Images of one patient with different exclusive labels have no common label and are refused.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.predictions import FPTPredictions

__all__ = ["AGGREGATES", "FPTScoredUnits", "scored_units"]

AGGREGATES = ("mean", "max")

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class FPTScoredUnits:
    """N images or patients.

    Attributes:
        probabilities: (N, K) in [0, 1] as the network gives them.
        calibrated: (N, K) with the temperature applied; the same where there is none.
        labels: (N,) class numbers or (N, K) zeros and ones.
        patients: (N,) number of each unit's patient, from 0 in the order of their first images.
        members: rows of the predictions that make each unit.
        classes: names of the K classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        ordered: whether the order of the classes means something.
    """

    probabilities: _Floats
    calibrated: _Floats
    labels: _Ints
    patients: _Ints
    members: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    task: str
    ordered: bool

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def one_hot(self) -> npt.NDArray[np.bool_]:
        """(N, K): which classes each unit has."""
        if self.labels.ndim == 2:
            return self.labels.astype(bool)
        return np.asarray(self.labels[:, None] == np.arange(len(self.classes)))

    def subset(self, rows: npt.NDArray[np.int64]) -> FPTScoredUnits:
        """The units of these rows; patients keep their numbers."""
        return dataclasses.replace(
            self,
            probabilities=self.probabilities[rows],
            calibrated=self.calibrated[rows],
            labels=self.labels[rows],
            patients=self.patients[rows],
            members=tuple(self.members[int(row)] for row in rows),
        )


def scored_units(
    predictions: FPTPredictions, *, temperature: float = 1.0, aggregate: str | None = None
) -> FPTScoredUnits:
    """What is counted.

    Args:
        predictions: of images.
        temperature: of the calibration.
        aggregate: ``"mean"`` or ``"max"`` of a patient's images; None counts images.

    Raises:
        ValueError: an unknown aggregate, or images of one patient with different exclusive labels.
    """
    if aggregate is not None and aggregate not in AGGREGATES:
        raise ValueError(f"aggregate={aggregate!r} is not one of {', '.join(AGGREGATES)}; choose one, or leave it out.")
    numbers: dict[str, int] = {}
    patients = np.array([numbers.setdefault(group, len(numbers)) for group in predictions.groups], dtype=np.int64)
    raw, calibrated = predictions.probabilities(), predictions.probabilities(temperature)
    labels = predictions.labels
    members: tuple[tuple[int, ...], ...] = tuple((row,) for row in range(len(predictions)))
    if aggregate is not None:
        rows: list[list[int]] = [[] for _ in numbers]
        for row, patient in enumerate(patients.tolist()):
            rows[patient].append(row)
        members = tuple(tuple(one) for one in rows)
        raw, calibrated = (_together(values, members, aggregate, predictions.task) for values in (raw, calibrated))
        labels = _labels(predictions, members)
        patients = np.arange(len(numbers), dtype=np.int64)
    return FPTScoredUnits(
        raw, calibrated, labels, patients, members, predictions.classes, predictions.task, predictions.ordered
    )


def _together(values: _Floats, members: tuple[tuple[int, ...], ...], aggregate: str, task: str) -> _Floats:
    """(N, K) probabilities of images as (P, K) of patients."""
    put = np.mean if aggregate == "mean" else np.max
    result = np.array([put(values[list(rows)], axis=0) for rows in members]).reshape(len(members), values.shape[1])
    if aggregate == "max" and task == "multiclass":
        result = result / result.sum(axis=1, keepdims=True)
    return result


def _labels(predictions: FPTPredictions, members: tuple[tuple[int, ...], ...]) -> _Ints:
    if predictions.task == "multilabel":
        return np.array([predictions.labels[list(rows)].max(axis=0) for rows in members], dtype=np.int64).reshape(
            len(members), len(predictions.classes)
        )
    mixed = [rows for rows in members if len(set(predictions.labels[list(rows)].tolist())) > 1]
    if mixed:
        raise ValueError(
            f"{len(mixed)} patients or groups have images of different labels (the first has {len(mixed[0])} images); leave "
            "aggregate out, or name a group_column that tells them apart (a breast, a lesion)."
        )
    return np.array([predictions.labels[rows[0]] for rows in members], dtype=np.int64)
