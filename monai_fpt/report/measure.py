"""All scores of an evaluation, for the data set and its resamples at once: pure functions of units and weights.

Names of scores are flat, so that a table, MLflow and a promotion rule can use them: ``auc``, ``auc/melanoma``,
``sensitivity/melanoma`` (of the most probable class, or at 0.5), ``sensitivity/melanoma/youden`` (at a threshold of the calibration),
``ece_calibrated``. Decisions:

* Scores of the network are of its own probabilities, as everywhere else in this package. Only names with ``_calibrated`` and
  those at thresholds are of calibrated ones.
* The mean over classes is that of the classes which the data set has. A resample that lost one of them gives no mean, for it
  would be the mean of something else.
* Two exclusive classes are one question: AUC, average precision, Brier score and calibration error of the second class. With more
  classes the calibration error is that of the most probable class and the Brier score the sum over the classes (0 to 2); of
  several findings both are means over the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.operating import FPTQuestion, fpt_questions
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.metrics.weighted import (
    decision_rates,
    weighted_area,
    weighted_calibration_error,
    weighted_confusion,
    weighted_kappa,
    weighted_mean,
    weighted_precision,
)

__all__ = ["LOWER_IS_BETTER", "confusions", "decisions_of", "measured", "measured_questions", "measured_summary"]

LOWER_IS_BETTER = frozenset({"brier", "ece", "nll", "brier_calibrated", "ece_calibrated", "nll_calibrated"})
_FLOOR = 1e-12  # of probabilities in a logarithm
_CLASS_RATES = {"class_sensitivity": "sensitivity", "class_specificity": "specificity", "class_f1": "f1"}

_Floats = npt.NDArray[np.float64]
_Marks = npt.NDArray[np.bool_]
_Drawn = dict[str, _Floats]


def decisions_of(units: FPTScoredUnits) -> npt.NDArray[np.int64]:
    """(N,) most probable classes, or (N, K) findings of at least 0.5."""
    if units.task == "multilabel":
        return (units.probabilities >= 0.5).astype(np.int64)
    return np.asarray(units.probabilities.argmax(axis=1))


def confusions(units: FPTScoredUnits, weights: _Floats) -> list[_Floats]:
    """(B, K, K) labels by decisions of exclusive classes, alone in a list; (B, 2, 2) of each of several findings."""
    decided = decisions_of(units)
    if units.task == "multiclass":
        return [weighted_confusion(units.labels, decided, len(units.classes), weights)]
    return [weighted_confusion(units.labels[:, k], decided[:, k], 2, weights) for k in range(len(units.classes))]


def measured_summary(units: FPTScoredUnits, weights: _Floats) -> _Drawn:
    """The scores that one would name first: what subgroups are compared by.

    Args:
        units: images or patients.
        weights: (B, N), how often each counts.

    Returns:
        ``auc``, ``balanced_accuracy`` and ``accuracy``, each (B,).
    """
    rates = _rates(units, weights)
    areas = _per_class(weighted_area, units.probabilities, units, weights)
    return {
        "auc": _over_classes(areas, _both_sides(units)),
        **{name: rates[name] for name in ("balanced_accuracy", "accuracy")},
    }


def measured(units: FPTScoredUnits, weights: _Floats, *, logits: _Floats | None, calibrated: bool) -> _Drawn:
    """All scores but those at thresholds.

    Args:
        units: images or patients.
        weights: (B, N), how often each counts.
        logits: (N, K) of images, for the authors' AUC; None for patients, of whom there are none.
        calibrated: also those of calibrated probabilities.

    Returns:
        name to (B,), NaN where undefined.
    """
    areas = _per_class(weighted_area, units.probabilities, units, weights)
    precisions = _per_class(weighted_precision, units.probabilities, units, weights)
    rates = _rates(units, weights)
    both = _both_sides(units)
    occurring: _Marks = np.asarray(units.one_hot[:, list(_asked(units))].any(axis=0))
    found = {"auc": _over_classes(areas, both), "average_precision": _over_classes(precisions, occurring)}
    names = ("balanced_accuracy", "accuracy", "f1", "precision", "recall", "kappa")
    found |= {name: rates[name] for name in names if name in rates}
    found |= _probability_scores(units, units.probabilities, weights)
    if calibrated:
        scores = _probability_scores(units, units.calibrated, weights)
        found |= {f"{name}_calibrated": values for name, values in scores.items()}
    if logits is not None:
        found["official_auc"] = _over_classes(_per_class(weighted_area, logits, units, weights), both)
    names_of = _asked(units)
    if len(names_of) > 1:
        found |= {f"auc/{name}": areas[:, k] for k, name in enumerate(names_of.values())}
        found |= {f"average_precision/{name}": precisions[:, k] for k, name in enumerate(names_of.values())}
    for key, label in _CLASS_RATES.items():
        found |= {f"{label}/{name}": rates[key][:, k] for k, name in names_of.items()}
    return found


def measured_questions(units: FPTScoredUnits, weights: _Floats, thresholds: Mapping[str, float]) -> _Drawn:
    """Rates at the thresholds of a calibration.

    Args:
        units: images or patients.
        weights: (B, N), how often each counts.
        thresholds: ``"question/rule"`` to a threshold of calibrated probabilities.

    Returns:
        ``sensitivity/question/rule``, ``specificity/...``, ``ppv/...`` and ``npv/...`` to (B,), NaN where undefined.
    """
    found: _Drawn = {}
    for question in fpt_questions(units.classes, task=units.task, ordered=units.ordered):
        for name, at in thresholds.items():
            if name.rpartition("/")[0] == question.name:
                found |= _answers(question, name, at, units, weights)
    return found


def _answers(question: FPTQuestion, name: str, at: float, units: FPTScoredUnits, weights: _Floats) -> _Drawn:
    truth = question.positives(units.labels).astype(np.int64)
    called = (question.values(units.calibrated) >= at).astype(np.int64)
    rates = decision_rates(weighted_confusion(truth, called, 2, weights))
    return {
        f"sensitivity/{name}": rates["class_sensitivity"][:, 1],
        f"specificity/{name}": rates["class_sensitivity"][:, 0],
        f"ppv/{name}": rates["class_precision"][:, 1],
        f"npv/{name}": rates["class_precision"][:, 0],
    }


def _asked(units: FPTScoredUnits) -> dict[int, str]:
    """Numbers and names of the classes that are asked for, each against the rest: the second of two exclusive ones."""
    questions = fpt_questions(units.classes, task=units.task)
    return {question.members[0]: question.name for question in questions}


def _rates(units: FPTScoredUnits, weights: _Floats) -> _Drawn:
    """Scores of decisions, those per class (B, K)."""
    tables = confusions(units, weights)
    each = [decision_rates(table) for table in tables]
    if units.task == "multiclass":
        occurring = np.bincount(units.labels, minlength=len(units.classes)) > 0
        lost = np.isnan(each[0]["class_sensitivity"][:, occurring]).any(axis=1)
        balanced = np.where(lost, np.nan, each[0]["balanced_accuracy"])
        return {**each[0], "balanced_accuracy": balanced, "kappa": weighted_kappa(tables[0])}
    found = {name: np.mean([one[name] for one in each], axis=0) for name in ("accuracy", "balanced_accuracy")}
    per_class = [name for name in each[0] if name.startswith("class_")]
    found |= {name: np.stack([one[name][:, 1] for one in each], axis=1) for name in per_class}
    macro = {"f1": "class_f1", "precision": "class_precision", "recall": "class_sensitivity"}
    return found | {name: np.nan_to_num(found[key]).mean(axis=1) for name, key in macro.items()}


def _per_class(
    score: Callable[[_Floats, _Marks, _Floats], _Floats], values: _Floats, units: FPTScoredUnits, weights: _Floats
) -> _Floats:
    """``score`` of every class that is asked for, against the rest: (B, classes asked for)."""
    marks = units.one_hot
    return np.stack([score(values[:, k], marks[:, k], weights) for k in _asked(units)], axis=1)


def _both_sides(units: FPTScoredUnits) -> _Marks:
    """Which of the classes that are asked for occur, and not always."""
    marks = units.one_hot[:, list(_asked(units))]
    return np.asarray(marks.any(axis=0) & ~marks.all(axis=0))


def _over_classes(values: _Floats, counted: _Marks) -> _Floats:
    """Mean of (B, classes) over those that the data set has; NaN for a resample that lost one of them."""
    if not counted.any():
        return np.full(len(values), np.nan)
    return np.asarray(values[:, counted].mean(axis=1))


def _probability_scores(units: FPTScoredUnits, probabilities: _Floats, weights: _Floats) -> _Drawn:
    """Brier score, calibration error and negative log-likelihood of these probabilities, each (B,)."""
    marks = units.one_hot
    if units.task == "multilabel":
        chance = np.where(marks, probabilities, 1 - probabilities)
        errors = [weighted_calibration_error(probabilities[:, k], marks[:, k], weights) for k in range(marks.shape[1])]
        return {
            "brier": weighted_mean(((probabilities - marks) ** 2).mean(axis=1), weights),
            "ece": np.mean(errors, axis=0),
            "nll": weighted_mean(-np.log(np.maximum(chance, _FLOOR)).mean(axis=1), weights),
        }
    own = probabilities[np.arange(len(units)), units.labels]
    if len(units.classes) == 2:
        squares = (probabilities[:, 1] - marks[:, 1]) ** 2
        confidences, right = probabilities[:, 1], marks[:, 1]
    else:
        squares = ((probabilities - marks) ** 2).sum(axis=1)
        confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == units.labels
    return {
        "brier": weighted_mean(squares, weights),
        "ece": weighted_calibration_error(confidences, right, weights),
        "nll": weighted_mean(-np.log(np.maximum(own, _FLOOR)), weights),
    }
