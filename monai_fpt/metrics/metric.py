"""One score of a whole validation as a MONAI metric.

MONAI's metrics for classification want one-hot labels and give NaN for a mean with one undefined class. This class
keeps MONAI's pooling (and its all-gather over ranks) and asks ``functional`` for the score when the epoch is over.
Labels may be tensors or plain numbers, because MONAI's ``Decollated`` turns a scalar label tensor into a Python number.

A network that has diverged predicts NaN. That is no reason to end the training here: the score is NaN, a warning says
why, and whoever compares scores must treat NaN as worse than any number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric

from monai_fpt.metrics.functional import FPT_SCORES, classification_scores, fpt_auc, official_auc
from monai_fpt.metrics.inputs import checked_task

__all__ = ["FPTClassificationMetric"]


class FPTClassificationMetric(CumulativeIterationMetric):  # type: ignore[misc]  # monai is untyped
    """One score over all predictions seen since the last ``reset``.

    Args:
        score: one of ``FPT_SCORES``; ``"official_auc"`` is the authors' and wants logits instead of probabilities.
        task: ``"multiclass"`` (two classes as well) or ``"multilabel"``.

    Raises:
        ValueError: ``score`` or ``task`` is unknown, or the score does not exist for the task.

    Example:
        >>> metric = FPTClassificationMetric(score="auc")
        >>> _ = metric([torch.tensor([0.9, 0.1]), torch.tensor([0.2, 0.8])], [0, 1])
        >>> metric.aggregate()
        1.0
    """

    def __init__(self, score: str = "auc", task: str = "multiclass") -> None:
        super().__init__()
        if score not in FPT_SCORES:
            raise ValueError(f"score must be one of {', '.join(FPT_SCORES)} but is {score!r}.")
        self.score = score
        self.task = checked_task(task)
        if score == "kappa" and task == "multilabel":
            raise ValueError(
                "score 'kappa' compares ordered exclusive classes and does not exist for task 'multilabel'."
            )

    def __call__(
        self, y_pred: torch.Tensor | Sequence[Any], y: torch.Tensor | Sequence[Any] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool one batch.

        Args:
            y_pred: (B, K) probabilities, or logits for ``official_auc``; or a list of B tensors (K,).
            y: (B,) class numbers or (B, K) zeros and ones, as a tensor or as a list of tensors or numbers.

        Returns:
            What was pooled: predictions (B, K) and labels.

        Raises:
            ValueError: labels are missing or there are not as many as predictions.
        """
        if y is None:
            raise ValueError(f"the score {self.score!r} needs labels but got predictions only.")
        predictions, labels = _stacked(y_pred), _stacked(y)
        if self.task == "multiclass" and labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if len(predictions) != len(labels):
            raise ValueError(f"a batch has {len(predictions)} predictions but {len(labels)} labels.")
        self.extend(predictions, labels.to(predictions.device))
        return predictions, labels

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> Any:
        """MONAI's hook for one batch of tensors; the same as calling the metric."""
        return self(y_pred, y)

    def aggregate(self) -> float:
        """The score of everything pooled, over all ranks; NaN when nothing was pooled or a prediction is NaN."""
        buffers = self.get_buffer()
        if buffers is None:
            return float("nan")
        predictions, labels = buffers
        if torch.isnan(predictions).any():
            warnings.warn(f"the network predicts NaN, therefore {self.score} is NaN.", stacklevel=2)
            return float("nan")
        if self.score == "official_auc":
            return official_auc(predictions, labels)
        if self.score == "auc":
            return fpt_auc(predictions, labels, task=self.task)
        return classification_scores(predictions, labels, task=self.task)[self.score]


def _stacked(values: torch.Tensor | Sequence[Any]) -> torch.Tensor:
    """A batch as one plain tensor with the samples in front."""
    if not isinstance(values, torch.Tensor):
        values = torch.stack([torch.as_tensor(value) for value in values])
    return values.detach().as_subclass(torch.Tensor)
