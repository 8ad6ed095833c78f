"""What arms need to choose by validation: the score that decides, and which of two values is better."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_fpt.handlers import fpt_strictly_better
from monai_fpt.metrics import classification_scores, fpt_auc

__all__ = ["all_scores", "is_better", "probabilities_of", "validation_auc"]


def probabilities_of(logits: Tensor, task: str) -> Tensor:
    """(N, K) in [0, 1]: softmax for exclusive classes, sigmoid for several findings."""
    return logits.double().softmax(1) if task == "multiclass" else logits.double().sigmoid()


def validation_auc(logits: Tensor, labels: Tensor, task: str) -> float:
    """AUC of logits (N, K); NaN where they are not finite or no class has both sides."""
    probabilities = probabilities_of(logits.detach().cpu(), task)
    if not torch.isfinite(probabilities).all():
        return math.nan
    return fpt_auc(probabilities, labels.cpu().long(), task=task)


def all_scores(logits: Any, labels: Any, task: str) -> dict[str, float]:
    """All scores of logits (N, K)."""
    return classification_scores(probabilities_of(torch.as_tensor(logits), task), labels, task=task)


def is_better(score: float, best: float | None) -> bool:
    """Whether a score beats the best so far; the first always does, and NaN beats nothing but NaN never seen before.

    Example:
        >>> is_better(float("nan"), None), is_better(0.5, float("nan")), is_better(0.5, 0.5)
        (True, True, False)
    """
    return best is None or fpt_strictly_better(score, best)
