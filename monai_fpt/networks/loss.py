"""The training loss: cross-entropy, with class weights where classes are unequal (SPEC section 6).

One exclusive label per image gives softmax cross-entropy, several labels binary cross-entropy. Weights are buffers, so
they follow the device, and can decay from balanced to equal over the training, as the authors offer;
:meth:`FPTLoss.set_progress` is what a handler calls per epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ClassWeights", "FPTLoss"]

ClassWeights = Literal["equal", "balanced", "decaying"]


class FPTLoss(nn.Module):
    """Cross-entropy for one exclusive label or several labels per image.

    Args:
        task: ``"multiclass"`` (labels (B,) int64) or ``"multilabel"`` (labels (B, K) of 0 and 1).
        class_counts: images per class in the training section; needed for weights.
        num_images: images in the training section; needed for weights of several labels. None takes the sum of the
            counts.
        class_weights: ``"equal"``; ``"balanced"``: n / (K * n_k), or for several labels negatives over positives;
            ``"decaying"``: from balanced to equal, linearly over the training.

    Raises:
        ValueError: an unknown choice, or a class without images where weights are wanted.
    """

    balanced: Tensor
    weight: Tensor

    def __init__(
        self,
        task: str = "multiclass",
        class_counts: Sequence[int] | None = None,
        num_images: int | None = None,
        class_weights: ClassWeights | None = "equal",
    ) -> None:
        super().__init__()
        class_weights = class_weights or "equal"
        if task not in ("multiclass", "multilabel"):
            raise ValueError(f'task={task!r} is not one of "multiclass", "multilabel".')
        if class_weights not in get_args(ClassWeights):
            raise ValueError(
                f"class_weights={class_weights!r} is not one of {', '.join(map(repr, get_args(ClassWeights)))}."
            )
        self.task = task
        self.class_weights = class_weights
        counts = torch.tensor(list(class_counts or [1]), dtype=torch.float32)
        if class_weights != "equal" and (class_counts is None or bool((counts == 0).any())):
            raise ValueError(
                f"class_weights={class_weights!r} needs training images of every class, got counts {class_counts}."
            )
        total = float(counts.sum() if num_images is None else num_images)
        balanced = total / (len(counts) * counts) if task == "multiclass" else (total - counts) / counts
        self.register_buffer("balanced", balanced, persistent=False)
        self.register_buffer(
            "weight", torch.ones_like(balanced) if class_weights == "equal" else balanced.clone(), persistent=False
        )

    def set_progress(self, progress: float) -> None:
        """Say how far the training is, from 0 to 1; changes the weights only where they decay."""
        if self.class_weights == "decaying":
            self.weight = 1 + (self.balanced - 1) * (1 - min(max(progress, 0.0), 1.0))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, K), without weights exactly ``torch.nn.functional.cross_entropy``."""
        weight = None if self.class_weights == "equal" else self.weight.to(logits.dtype)
        if self.task == "multilabel":
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), pos_weight=weight)
        return F.cross_entropy(logits, labels.long(), weight=weight)
