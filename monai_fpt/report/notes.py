"""What must be known to read an evaluation's numbers: each a pair of severity and one sentence.

A report that hides where it is weak is worse than none: few patients, no patients known, intervals of no width, thresholds chosen on
the very images, or nobody knows for which weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.resample import RARE, class_patients

__all__ = ["evaluation_notes", "few_patients"]


def evaluation_notes(
    evaluation: FPTEvaluation, units: FPTScoredUnits, predictions: FPTPredictions
) -> tuple[tuple[str, str], ...]:
    """All notes, warnings first.

    Args:
        evaluation: with scores.
        units: that were counted.
        predictions: that were scored.
    """
    found = [*_calibration(evaluation, predictions), *_patients(evaluation, units), *_intervals(evaluation)]
    return tuple(sorted(found, key=lambda note: note[0] != "warning"))


def _calibration(evaluation: FPTEvaluation, predictions: FPTPredictions) -> Iterator[tuple[str, str]]:
    calibration = evaluation.calibration
    if calibration is None:
        yield "note", "No validation predictions were at hand: there are no thresholds and no calibrated probabilities."
        return
    if not (calibration.weights_sha256 and predictions.weights_sha256):
        yield (
            "warning",
            "It is not recorded of which weights calibration and predictions are, so that nobody can check that they are of the same: evaluate "
            "both sections again with this version.",
        )
    if calibration.same_images(predictions):
        yield (
            "warning",
            "Temperature and thresholds were chosen on these very images: sensitivities at thresholds and calibrated scores are too good.",
        )
    yield from (("note", remark) for remark in calibration.remarks)


def _patients(evaluation: FPTEvaluation, units: FPTScoredUnits) -> Iterator[tuple[str, str]]:
    if not evaluation.patients_known:
        yield (
            "note",
            "No patients are known, each image counts as one: where a patient has several images, intervals are too narrow.",
        )
    counts = class_patients(units)
    missing = [name for name, count in zip(evaluation.classes, counts, strict=True) if count == 0]
    few = few_patients(units)
    if missing:
        yield "warning", f"There is no image of {', '.join(missing)}: nothing is said of how they are recognised."
    if few:
        drawn = " Patients of these classes were drawn among themselves." if evaluation.stratified else ""
        yield "warning", f"Fewer than {RARE} patients of {', '.join(few)}: their intervals are rough.{drawn}"


def few_patients(units: FPTScoredUnits) -> list[str]:
    """Names of the classes that have so few patients that intervals are rough, each with their number."""
    pairs = zip(units.classes, class_patients(units), strict=True)
    return [f"{name} ({count})" for name, count in pairs if 0 < count < RARE]


def _intervals(evaluation: FPTEvaluation) -> Iterator[tuple[str, str]]:
    if not evaluation.bootstrap:
        yield "note", "No resamples were drawn: there are no intervals."
        return
    certain = [
        name
        for name, score in evaluation.scores.items()
        if score.usable == evaluation.bootstrap and np.isnan(score.low) and not np.isnan(score.value)
    ]
    if certain:
        shown = [name for name in certain if "/" not in name] or certain[:3]
        yield (
            "warning",
            f"No resample differs in {', '.join(shown)}, so there is no interval: that is a limit of the method on few images, not "
            "certainty; see the intervals of accuracy, sensitivity and specificity.",
        )
    partly = {
        name: score.usable
        for name, score in evaluation.scores.items()
        if score.usable < evaluation.bootstrap and not np.isnan(score.value)
    }
    if partly:
        worst = min(partly, key=partly.__getitem__)
        yield (
            "note",
            f"Not every resample defines {len(partly)} of the scores; the fewest, {partly[worst]:,} of {evaluation.bootstrap:,}, are those of "
            f"{worst}.",
        )
