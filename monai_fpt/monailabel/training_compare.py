"""Is the new model as good as the present one, on the same images?

One score decides, chosen beforehand; where it is equal, as it often is on few images, cross-entropy does. A score that these
images do not define is no reason to publish.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from monai_fpt.metrics import classification_scores

__all__ = ["not_worse", "score_of"]


def not_worse(present: Tensor, challenger: Tensor, labels: Tensor, metric: str) -> tuple[bool, float, float]:
    """Compare two models on the same images.

    Args:
        present: (N, K) logits of the present model.
        challenger: (N, K) of the new one.
        labels: (N,) class numbers, or (N, K) of 0 and 1 for several labels.
        metric: one of :data:`~monai_fpt.metrics.FPT_SCORES`.

    Returns:
        Whether the challenger may take the place, and both scores. An undefined score is no reason to publish.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1])
        >>> not_worse(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 2.0]]), labels, "auc")
        (True, 0.0, 1.0)
    """
    old, new = score_of(present, labels, metric), score_of(challenger, labels, metric)
    if math.isnan(old) or math.isnan(new):
        return False, old, new
    if math.isclose(old, new, abs_tol=1e-9):
        return _cross_entropy(challenger, labels) <= _cross_entropy(present, labels), old, new
    return new > old, old, new


def score_of(logits: Tensor, labels: Tensor, metric: str) -> float:
    """One score of (N, K) logits; NaN where it is undefined."""
    wide = logits.double()
    if labels.ndim == 2:
        return classification_scores(wide.sigmoid(), labels.long(), task="multilabel", logits=wide).get(
            metric, math.nan
        )
    return classification_scores(wide.softmax(dim=1), labels, task="multiclass", logits=wide).get(metric, math.nan)


def _cross_entropy(logits: Tensor, labels: Tensor) -> float:
    if labels.ndim == 2:
        return float(F.binary_cross_entropy_with_logits(logits.double(), labels.double()))
    return float(F.cross_entropy(logits.double(), labels))
