"""Scores of many resamples of one data set at once: every image counts as often as its weight says.

A bootstrap draws patients with replacement; what is drawn is a number of times that each image counts. With those numbers as
a matrix of B resamples and N images, a score of all resamples is a few products and cumulative sums instead of B calls, and
the score of the data set itself is the row of ones. A score that a resample does not define (a class that vanished) is NaN.

The definitions are scikit-learn's, those of :mod:`monai_fpt.metrics.functional`: precision, recall and F1 are means over the
classes that occur among labels or decisions; balanced accuracy is the mean recall of the classes that occur; tied values
share a step of the curves. The expected calibration error is torchmetrics' with the l1 norm, in float64 and with torch's own edges of
the bins, of which NumPy's differ in the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

__all__ = [
    "BINS",
    "calibration_bins",
    "decision_rates",
    "weighted_area",
    "weighted_calibration_error",
    "weighted_confusion",
    "weighted_kappa",
    "weighted_mean",
    "weighted_precision",
]

BINS = 15  # of the calibration error, torchmetrics' number
_EDGES = torch.linspace(0, 1, BINS + 1, dtype=torch.float64).numpy()

_Floats = npt.NDArray[np.float64]
_Marks = npt.NDArray[np.bool_]


def _ratio(over: _Floats, under: _Floats) -> _Floats:
    """``over / under``, NaN where ``under`` is zero."""
    result = np.full(np.broadcast_shapes(over.shape, under.shape), np.nan)
    np.divide(over, under, out=result, where=under > 0)
    return result


def weighted_mean(values: _Floats, weights: _Floats) -> _Floats:
    """Mean of (N,) values under (B, N) weights, NaN where nothing weighs: (B,).

    Example:
        >>> weighted_mean(np.array([1.0, 0.0]), np.array([[1.0, 1.0], [3.0, 1.0]])).tolist()
        [0.5, 0.75]
    """
    return _ratio(weights @ values, weights.sum(axis=1))


def _steps(values: _Floats, positives: _Marks, weights: _Floats) -> tuple[_Floats, _Floats]:
    """Weight of positives and of negatives at every distinct value, highest first: two arrays (B, steps)."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    chosen = weights[:, order]
    marks = positives[order].astype(np.float64)
    of_positives = np.add.reduceat(chosen * marks, starts, axis=1)
    return of_positives, np.add.reduceat(chosen, starts, axis=1) - of_positives


def weighted_area(values: _Floats, positives: _Marks, weights: _Floats) -> _Floats:
    """Area under the ROC curve.

    Args:
        values: (N,), higher for positives.
        positives: (N,).
        weights: (B, N), how often each image counts.

    Returns:
        (B,); NaN where positives or negatives weigh nothing.

    Example:
        >>> marks = np.array([True, False, True])
        >>> weighted_area(np.array([0.9, 0.5, 0.5]), marks, np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])).tolist()
        [0.75, nan]
    """
    if not len(values):
        return np.full(len(weights), np.nan)
    pos, neg = _steps(values, positives, weights)
    won = (neg * (np.cumsum(pos, axis=1) - pos / 2)).sum(axis=1)  # negatives below each positive; a tie is half a win
    return _ratio(won, pos.sum(axis=1) * neg.sum(axis=1))


def weighted_precision(values: _Floats, positives: _Marks, weights: _Floats) -> _Floats:
    """Average precision; arguments and result of :func:`weighted_area`, NaN where positives weigh nothing."""
    if not len(values):
        return np.full(len(weights), np.nan)
    pos, neg = _steps(values, positives, weights)
    found = np.cumsum(pos, axis=1)
    precision = np.nan_to_num(_ratio(found, found + np.cumsum(neg, axis=1)))
    return _ratio((pos * precision).sum(axis=1), found[:, -1])


def weighted_confusion(
    truth: npt.NDArray[np.int64], decided: npt.NDArray[np.int64], classes: int, weights: _Floats
) -> _Floats:
    """Weight of every (label, decision) pair: (B, classes, classes).

    Args:
        truth: (N,) class numbers.
        decided: (N,) class numbers.
        classes: number of classes.
        weights: (B, N).
    """
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + decided] = 1
    return np.asarray((weights @ cells).reshape(-1, classes, classes))


def decision_rates(confusion: _Floats) -> dict[str, _Floats]:
    """Scores of decisions out of confusion matrices.

    Args:
        confusion: (B, K, K), labels by decisions.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``f1``, ``precision``, ``recall`` (each (B,)), and per class, each (B, K),
        ``class_sensitivity``, ``class_specificity``, ``class_precision``, ``class_negative``, ``class_f1``: NaN where the
        class, its contrary or the decision never occurs.
    """
    right = np.diagonal(confusion, axis1=1, axis2=2)
    labels, decisions = confusion.sum(axis=2), confusion.sum(axis=1)
    total = labels.sum(axis=1, keepdims=True)
    sensitivity, precision = _ratio(right, labels), _ratio(right, decisions)
    f1 = _ratio(2 * right, labels + decisions)
    occurring = (labels + decisions) > 0
    return {
        "accuracy": _ratio(right.sum(axis=1), total[:, 0]),
        "balanced_accuracy": _mean_of(sensitivity, labels > 0),
        "f1": _mean_of(f1, occurring),
        "precision": _mean_of(np.nan_to_num(precision), occurring),
        "recall": _mean_of(np.nan_to_num(sensitivity), occurring),
        "class_sensitivity": sensitivity,
        "class_specificity": _ratio(total - labels - decisions + right, total - labels),
        "class_precision": precision,
        "class_negative": _ratio(total - labels - decisions + right, total - decisions),
        "class_f1": f1,
    }


def _mean_of(values: _Floats, counted: _Marks) -> _Floats:
    """Mean of (B, K) over the counted of each row, NaN where none is."""
    return _ratio(np.where(counted, values, 0).sum(axis=1), counted.sum(axis=1).astype(np.float64))


def weighted_kappa(confusion: _Floats) -> _Floats:
    """Cohen's kappa with quadratic weights of (B, K, K) confusion matrices: (B,); NaN where one class is all there is."""
    count = confusion.shape[1]
    places = np.arange(count)
    distance = (places[:, None] - places[None, :]).astype(np.float64) ** 2
    labels, decisions = confusion.sum(axis=2), confusion.sum(axis=1)
    total = labels.sum(axis=1)
    expected = _ratio(np.einsum("bi,bj,ij->b", labels, decisions, distance), total)
    return 1 - _ratio(np.einsum("bij,ij->b", confusion, distance), expected)


def calibration_bins(confidences: _Floats) -> npt.NDArray[np.int64]:
    """Bin of each (N,) confidence in [0, 1]: torchmetrics' fifteen, and a last one for 1 itself."""
    return np.asarray(np.digitize(confidences, _EDGES) - 1, dtype=np.int64)


def weighted_calibration_error(confidences: _Floats, right: _Marks, weights: _Floats) -> _Floats:
    """Expected calibration error: the mean distance of confidence and share of right ones, bin by bin.

    Args:
        confidences: (N,) in [0, 1].
        right: (N,) whether it came true.
        weights: (B, N).

    Returns:
        (B,); NaN where nothing weighs.
    """
    gaps = np.zeros((len(confidences), BINS + 1))
    gaps[np.arange(len(confidences)), calibration_bins(confidences)] = right - confidences
    return _ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))
