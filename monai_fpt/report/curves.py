"""Curves of a report: ROC, precision and recall of every class that is asked for, and how sure against how often right."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from monai_fpt.metrics.operating import fpt_questions
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.report.evaluation import FPTCurve, FPTReliability

__all__ = ["class_curves", "reliability_of"]

_MOST_POINTS = 200
_FEWEST_BINS, _MOST_BINS, _IN_BIN = 3, 10, 20
_Floats = npt.NDArray[np.float64]


def class_curves(units: FPTScoredUnits) -> tuple[FPTCurve, ...]:
    """Curves of every class against the rest, of the second of two; a class that never or always occurs has none."""
    found = []
    for question in fpt_questions(units.classes, task=units.task):
        marks, values = question.positives(units.labels), question.values(units.probabilities)
        if marks.all() or not marks.any():
            continue
        false_rate, true_rate, _ = roc_curve(marks, values)
        precision, recall, _ = precision_recall_curve(marks, values)
        rising = (recall[::-1], precision[::-1])
        found.append(
            FPTCurve(question.name, _thinned(false_rate, true_rate), _thinned(*rising), prevalence=float(marks.mean()))
        )
    return tuple(found)


def _thinned(across: _Floats, up: _Floats) -> tuple[tuple[float, float], ...]:
    """At most 200 points of a curve, its ends among them, evenly along its length."""
    keep = np.arange(len(across))
    if len(across) > _MOST_POINTS:
        length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(across), np.diff(up)))])
        keep = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _MOST_POINTS)).clip(0, len(across) - 1))
    return tuple((float(across[i]), float(up[i])) for i in keep)


def reliability_of(units: FPTScoredUnits, probabilities: _Floats) -> FPTReliability:
    """Mean confidence and share of right ones in three to ten bins of equally many decisions, twenty where there are enough.

    Args:
        units: images or patients.
        probabilities: (N, K), the units' own or calibrated.

    Returns:
        of the second of two exclusive classes; of the most probable of more; of all findings together.
    """
    if units.task == "multilabel":
        confidences, right = probabilities.ravel(), units.one_hot.ravel()
    elif len(units.classes) == 2:
        confidences, right = probabilities[:, 1], units.labels == 1
    else:
        confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == units.labels
    order = np.argsort(confidences, kind="stable")
    parts = np.array_split(order, min(_MOST_BINS, max(_FEWEST_BINS, len(order) // _IN_BIN), len(order)))
    shares = [float(right[part].mean()) for part in parts]
    ends = [_wilson(share, len(part)) for share, part in zip(shares, parts, strict=True)]
    return FPTReliability(
        confidence=tuple(float(confidences[part].mean()) for part in parts),
        observed=tuple(shares),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        counts=tuple(len(part) for part in parts),
    )


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion.

    Example:
        >>> [round(end, 3) for end in _wilson(0.5, 20)]
        [0.299, 0.701]
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
