"""Scores of a classifier over a whole data set, as pure functions of probabilities and labels.

Decisions:

- A class whose area under the curve is undefined (it never, or always, occurs) is left out of the mean instead of
  turning the mean into NaN, as MONAI's ``ROCAUCMetric`` does; when no class is left the score is NaN and never an
  exception, so a tiny validation set cannot end a training.
- Two classes are one question: AUC and average precision of a two-class problem are those of class 1.
- Probabilities are required (see ``inputs``); ``official_auc`` is the authors' metric on raw logits, for comparison
  with their tables only.
- Precision, recall and F1 are macro means over the classes that occur among labels or predictions, scikit-learn's
  default.
- Multilabel decisions are made at 0.5; accuracy is then the share of right decisions, balanced accuracy the mean over
  the findings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk

from monai_fpt.metrics.inputs import (
    FloatArray,
    IntArray,
    as_float_matrix,
    as_one_hot,
    checked_inputs,
    checked_labels,
)

__all__ = [
    "FPT_SCORES",
    "classification_scores",
    "fpt_auc",
    "fpt_class_auc",
    "fpt_class_average_precision",
    "official_auc",
]

FPT_SCORES = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "kappa",
    "auc",
    "average_precision",
    "official_auc",
)
"""Every key that ``classification_scores`` can give."""

AVERAGES = ("macro", "weighted")
THRESHOLD = 0.5


def fpt_class_auc(probabilities: Any, labels: Any, *, task: str) -> torch.Tensor:
    """Area under the ROC curve of every class against the rest.

    Args:
        probabilities: (N, K) in [0, 1], for multiclass summing to 1 in every row.
        labels: (N,) class numbers (multiclass) or (N, K) zeros and ones (multilabel).
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        (K,) float64; NaN where a class never or always occurs.

    Raises:
        ValueError: the inputs are no probabilities or do not fit each other.

    Example:
        >>> fpt_class_auc([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 0], task="multiclass")
        tensor([1., 1.], dtype=torch.float64)
    """
    matrix, truth = checked_inputs(probabilities, labels, task)
    return torch.from_numpy(_per_class(sk.roc_auc_score, matrix, as_one_hot(truth, matrix.shape[1]), both_sides=True))


def fpt_class_average_precision(probabilities: Any, labels: Any, *, task: str) -> torch.Tensor:
    """Average precision of every class against the rest, NaN where the class never occurs.

    Arguments and errors are those of ``fpt_class_auc``; returns (K,) float64.
    """
    matrix, truth = checked_inputs(probabilities, labels, task)
    one_hot = as_one_hot(truth, matrix.shape[1])
    return torch.from_numpy(_per_class(sk.average_precision_score, matrix, one_hot, both_sides=False))


def fpt_auc(probabilities: Any, labels: Any, *, task: str, average: str = "macro") -> float:
    """Area under the ROC curve: class 1 of two classes, otherwise the mean over the classes against the rest.

    Args:
        probabilities: (N, K) in [0, 1], for multiclass summing to 1 in every row.
        labels: (N,) class numbers (multiclass) or (N, K) zeros and ones (multilabel).
        task: ``"multiclass"`` (also for two classes) or ``"multilabel"``.
        average: ``"macro"``, every class counts the same, or ``"weighted"`` by how often it occurs.

    Returns:
        A number in [0, 1], or NaN when it is undefined for every class.

    Raises:
        ValueError: the inputs are no probabilities, do not fit each other, or ``average`` is unknown.

    Example:
        >>> fpt_auc([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 0], task="multiclass")
        1.0
    """
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)} but is {average!r}.")
    matrix, truth = checked_inputs(probabilities, labels, task)
    return _ranking_score(sk.roc_auc_score, matrix, truth, both_sides=True, weighted=average == "weighted")


def official_auc(logits: Any, labels: Any) -> float:
    """The authors' area under the ROC curve, computed on raw logits: only to compare with their published numbers.

    Logits of different images are not on one scale, so this ranks images by more than the network's opinion of them;
    use ``fpt_auc`` to judge a model.

    Args:
        logits: (N, K) any real numbers.
        labels: (N,) class numbers, or (N, K) zeros and ones for multilabel.

    Returns:
        AUC of ``logits[:, 1]`` for two classes, else the macro mean of every class against the rest; NaN when
        undefined.

    Raises:
        ValueError: shapes or label range do not fit.
    """
    matrix = as_float_matrix(logits, "logits")
    task = "multiclass" if np.ndim(labels) < 2 else "multilabel"
    truth = checked_labels(labels, (matrix.shape[0], matrix.shape[1]), task)
    if np.isnan(matrix).any():
        return float("nan")
    return _ranking_score(sk.roc_auc_score, matrix, truth, both_sides=True, weighted=False)


def classification_scores(probabilities: Any, labels: Any, *, task: str, logits: Any | None = None) -> dict[str, float]:
    """All scores of one data set.

    Args:
        probabilities: (N, K) in [0, 1], for multiclass summing to 1 in every row.
        labels: (N,) class numbers (multiclass) or (N, K) zeros and ones (multilabel).
        task: ``"multiclass"`` or ``"multilabel"``.
        logits: (N, K) raw logits; adds ``official_auc``.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``f1``, ``precision``, ``recall``, ``kappa`` (quadratically weighted,
        multiclass only), ``auc``, ``average_precision`` and, with logits, ``official_auc``. All are NaN for an empty
        data set.

    Raises:
        ValueError: the inputs are no probabilities or do not fit each other.
    """
    matrix, truth = checked_inputs(probabilities, labels, task)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # scikit-learn comments on classes that do not occur; the docstring says what happens
        scores = _decision_scores(matrix, truth)
    scores["auc"] = _ranking_score(sk.roc_auc_score, matrix, truth, both_sides=True, weighted=False)
    scores["average_precision"] = _ranking_score(
        sk.average_precision_score, matrix, truth, both_sides=False, weighted=False
    )
    if logits is not None:
        scores["official_auc"] = official_auc(logits, labels)
    return scores


def _decision_scores(matrix: FloatArray, truth: IntArray) -> dict[str, float]:
    """The scores of decisions: the most probable class, or every finding of at least 0.5."""
    multilabel = truth.ndim == 2
    if len(matrix) == 0:
        names = ["accuracy", "balanced_accuracy", "f1", "precision", "recall"] + ([] if multilabel else ["kappa"])
        return dict.fromkeys(names, float("nan"))
    if multilabel:
        decided: IntArray = (matrix >= THRESHOLD).astype(np.int64)
        columns = range(matrix.shape[1])
        balanced = np.mean([sk.balanced_accuracy_score(truth[:, k], decided[:, k]) for k in columns])
    else:
        decided = matrix.argmax(axis=1)
        balanced = sk.balanced_accuracy_score(truth, decided)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, decided, average="macro", zero_division=0)
    scores = {
        "accuracy": float((truth == decided).mean()),
        "balanced_accuracy": float(balanced),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
    }
    if not multilabel:
        classes = np.arange(matrix.shape[1])  # all of them: the weights are distances between positions in this list
        scores["kappa"] = float(sk.cohen_kappa_score(truth, decided, labels=classes, weights="quadratic"))
    return scores


def _per_class(
    score: Callable[[IntArray, FloatArray], float], matrix: FloatArray, one_hot: IntArray, *, both_sides: bool
) -> FloatArray:
    """``score`` of every column, NaN where the class never occurs (or, with ``both_sides``, always occurs)."""
    result = np.full(matrix.shape[1], np.nan)
    positives = one_hot.sum(axis=0)
    for k, count in enumerate(positives):
        if count > 0 and not (both_sides and count == len(one_hot)):
            result[k] = score(one_hot[:, k], matrix[:, k])
    return result


def _ranking_score(
    score: Callable[[IntArray, FloatArray], float],
    matrix: FloatArray,
    truth: IntArray,
    *,
    both_sides: bool,
    weighted: bool,
) -> float:
    """Class 1 of two exclusive classes, else the mean over the classes for which ``score`` is defined."""
    one_hot = as_one_hot(truth, matrix.shape[1])
    if truth.ndim == 1 and matrix.shape[1] == 2:
        return float(_per_class(score, matrix[:, 1:], one_hot[:, 1:], both_sides=both_sides)[0])
    values = _per_class(score, matrix, one_hot, both_sides=both_sides)
    defined = ~np.isnan(values)
    if not defined.any():
        return float("nan")
    weights = one_hot.sum(axis=0)[defined] if weighted else None
    return float(np.average(values[defined], weights=weights))
