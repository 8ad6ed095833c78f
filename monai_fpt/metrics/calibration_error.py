"""The expected calibration error of a data set, by torchmetrics.

It is computed in float64 whatever comes in, so that a report gives the same number wherever it is made. The error jumps where a
probability crosses the edge of a bin: torchmetrics on the network's float32 probabilities can put one that lies within 1e-7 of an
edge, such as a saturated 0.99999999, into the neighbour, and then differs by up to that image's share. On the same float64
probabilities it gives the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from monai_fpt.metrics.inputs import checked_inputs
from monai_fpt.metrics.weighted import BINS

__all__ = ["fpt_calibration_error"]


def fpt_calibration_error(probabilities: Any, labels: Any, *, task: str) -> float:
    """Mean distance of confidence and share of right ones over fifteen bins (l1).

    Args:
        probabilities: (N, K) in [0, 1], for multiclass summing to 1 in every row.
        labels: (N,) class numbers (multiclass) or (N, K) zeros and ones (multilabel).
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        of the second of two exclusive classes; of the most probable of more; the mean over several findings. NaN for an empty
        data set.

    Raises:
        ValueError: the inputs are no probabilities or do not fit each other.

    Example:
        >>> round(fpt_calibration_error([[0.8, 0.2], [0.2, 0.8]], [0, 1], task="multiclass"), 6)
        0.2
    """
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    matrix, truth = checked_inputs(probabilities, labels, task)
    if not len(matrix):
        return float("nan")
    values, target = torch.from_numpy(matrix), torch.from_numpy(truth)
    if task == "multilabel":
        pairs = zip(values.unbind(1), target.unbind(1), strict=True)
        return float(np.mean([float(binary_calibration_error(v.contiguous(), t, n_bins=BINS)) for v, t in pairs]))
    if values.shape[1] == 2:
        return float(binary_calibration_error(values[:, 1].contiguous(), target, n_bins=BINS))
    return float(multiclass_calibration_error(values, target, num_classes=values.shape[1], n_bins=BINS))
