"""What the metric functions accept: checked here once, so that the arithmetic next door needs no ``if``.

Probabilities and labels of a whole data set come in as tensors, arrays or lists and leave as NumPy arrays,
probabilities in float64 so that the sum of a million rows keeps its digits. A ranking metric computed from raw logits
looks plausible and is wrong (a per-image offset reorders the images), therefore rows that are no probabilities are
refused here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["TASKS", "as_array", "as_float_matrix", "as_one_hot", "checked_inputs", "checked_labels", "checked_task"]

TASKS = ("multiclass", "multilabel")
SUM_TOLERANCE = 1e-3

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def as_array(values: Any) -> NDArray[Any]:
    """Any tensor (also bfloat16, on any device) or nested sequence as a NumPy array."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return np.asarray(values.double().numpy() if values.is_floating_point() else values.numpy())
    return np.asarray(values)


def as_float_matrix(values: Any, name: str) -> FloatArray:
    """``values`` as a float64 array of shape (N, K), K at least 2 or, for a single finding, 1.

    Raises:
        ValueError: the array has not two dimensions.
    """
    matrix = as_array(values).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name} must have shape (samples, classes) but have {tuple(matrix.shape)}.")
    return matrix


def checked_task(task: str) -> str:
    """``task`` itself when it is one of ``TASKS``."""
    if task not in TASKS:
        raise ValueError(
            f"task must be one of {', '.join(TASKS)} (two exclusive classes are multiclass) but is {task!r}."
        )
    return task


def checked_labels(labels: Any, shape: tuple[int, int], task: str) -> IntArray:
    """Labels as integers that fit scores of shape (N, K).

    Args:
        labels: (N,) class numbers 0..K-1 for multiclass, (N, K) zeros and ones for multilabel.
        shape: (N, K) of the scores.
        task: one of ``TASKS``.

    Raises:
        ValueError: shape or range do not fit.
    """
    count, classes = shape
    array = as_array(labels)
    if task == "multiclass" and array.shape == (count, 1):
        array = array[:, 0]
    expected = (count,) if task == "multiclass" else (count, classes)
    if array.shape != expected:
        raise ValueError(f"{task} labels must have shape {expected} to fit the scores but have {tuple(array.shape)}.")
    whole = array.astype(np.int64)
    limit = classes if task == "multiclass" else 2
    if whole.size and (not np.array_equal(whole, array) or whole.min() < 0 or whole.max() >= limit):
        raise ValueError(
            f"{task} labels must be whole numbers from 0 to {limit - 1} but contain {_outside(array, limit)!r}."
        )
    return whole


def _outside(array: NDArray[Any], limit: int) -> float:
    numbers = array.astype(np.float64).ravel()
    wrong = numbers[~np.isin(numbers, np.arange(limit))]
    return float(wrong[0])


def checked_inputs(probabilities: Any, labels: Any, task: str) -> tuple[FloatArray, IntArray]:
    """Probabilities and labels, checked against each other.

    Args:
        probabilities: (N, K) in [0, 1]; for multiclass every row sums to 1 within 1e-3.
        labels: (N,) class numbers or (N, K) zeros and ones, see ``checked_labels``.
        task: one of ``TASKS``.

    Returns:
        Probabilities as float64 (N, K) and labels as int64.

    Raises:
        ValueError: anything above does not hold.
    """
    checked_task(task)
    matrix = as_float_matrix(probabilities, "probabilities")
    if np.isnan(matrix).any():
        raise ValueError(
            f"{int(np.isnan(matrix).any(axis=1).sum())} of {len(matrix)} rows of the probabilities are NaN."
        )
    if matrix.size and (matrix.min() < 0 or matrix.max() > 1):
        raise ValueError(
            f"probabilities must lie in [0, 1] but reach from {matrix.min():.4g} to {matrix.max():.4g}: "
            "give the output of softmax or sigmoid, not logits."
        )
    if task == "multiclass":
        if matrix.shape[1] < 2:
            raise ValueError("multiclass probabilities need at least two columns but have one: give both classes.")
        off = np.abs(matrix.sum(axis=1) - 1)
        if off.size and off.max() > SUM_TOLERANCE:
            row = int(off.argmax())
            raise ValueError(
                f"multiclass probabilities must sum to 1 in every row but row {row} sums to {matrix[row].sum():.4g}: "
                "give the output of softmax, or task='multilabel' for independent findings."
            )
    return matrix, checked_labels(labels, (matrix.shape[0], matrix.shape[1]), task)


def as_one_hot(labels: IntArray, classes: int) -> IntArray:
    """(N,) class numbers or (N, K) zeros and ones as (N, K) zeros and ones."""
    if labels.ndim == 2:
        return labels
    return np.asarray(labels[:, None] == np.arange(classes)[None, :], dtype=np.int64)
