"""Intervals where no resample differs from the whole.

Where every one of n patients is right, so is every resample, and a bootstrap interval has no width: it would say that nothing can ever be
wrong. For such proportions the exact binomial limit over patients is given (Clopper and Pearson 1934), which with n of n right is
``(alpha / 2) ** (1 / n)``. Other scores have no such limit, and then no interval.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.operating import fpt_questions
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.report.measure import decisions_of
from monai_fpt.report.score import FPTScore

__all__ = ["proportion_patients", "with_exact_limits"]

_Marks = npt.NDArray[np.bool_]


def proportion_patients(units: FPTScoredUnits, thresholds: Mapping[str, float]) -> dict[str, int]:
    """Number of patients that each proportion is about, by the name of its score.

    Args:
        units: images or patients.
        thresholds: ``"question/rule"`` to a threshold of calibrated probabilities.
    """
    found = {}
    if units.task == "multiclass":
        found["accuracy"] = len(np.unique(units.patients))
    decided = decisions_of(units)
    for question in fpt_questions(units.classes, task=units.task):
        called = decided[:, question.members[0]] == 1 if decided.ndim == 2 else np.isin(decided, question.members)
        found |= _patients(
            units, question.name, question.positives(units.labels), called, ("sensitivity", "specificity")
        )
    for question in fpt_questions(units.classes, task=units.task, ordered=units.ordered):
        truth, values = question.positives(units.labels), question.values(units.calibrated)
        for name, at in thresholds.items():
            if name.rpartition("/")[0] == question.name:
                found |= _patients(units, name, truth, values >= at, ("sensitivity", "specificity", "ppv", "npv"))
    return found


def _patients(
    units: FPTScoredUnits, name: str, truth: _Marks, called: _Marks, kinds: tuple[str, ...]
) -> dict[str, int]:
    about = {"sensitivity": truth, "specificity": ~truth, "ppv": called, "npv": ~called}
    return {f"{kind}/{name}": len(np.unique(units.patients[about[kind]])) for kind in kinds}


def with_exact_limits(scores: Mapping[str, FPTScore], patients: Mapping[str, int], level: float) -> dict[str, FPTScore]:
    """The scores without intervals of no width: proportions of 0 and 1 have an exact one, others none.

    Args:
        scores: by name.
        patients: number of patients by name of a proportion.
        level: of the intervals.

    Example:
        >>> str(with_exact_limits({"accuracy": FPTScore(1.0, 1.0, 1.0, 1000)}, {"accuracy": 20}, 0.95)["accuracy"])
        '1.000 (0.832 to 1.000)'
    """
    return {name: _exact(score, patients.get(name, 0), level) for name, score in scores.items()}


def _exact(score: FPTScore, patients: int, level: float) -> FPTScore:
    if score.low != score.high:
        return score
    if not patients or score.value not in (0.0, 1.0):
        return dataclasses.replace(score, low=math.nan, high=math.nan)
    least = ((1 - level) / 2) ** (1 / patients)
    ends = (least, 1.0) if score.value == 1 else (0.0, 1 - least)
    return dataclasses.replace(score, low=ends[0], high=ends[1])
