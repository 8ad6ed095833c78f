"""Gated attention over the cached patch tokens, an image as a bag of patches (Ilse, Tomczak, Welling 2018, arXiv 1802.04712).

    a_i = softmax_i(w' (tanh(V h_i) * sigmoid(U h_i))),   z = sum_i a_i h_i,   logits = W z

Trained as CLAM trains it (Lu et al. 2021, arXiv 2004.09666): Adam 2e-4, weight decay 1e-5, dropout 0.25 in the attention, one bag a step,
early stopping on validation. Ilse's D = 128. The tokens are not compressed first: they are embeddings already. MONAI's ``MILModel`` is not
used: its attention is not gated, has 2048 hidden units, and comes only with a convolutional network in front.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from monai_fpt.compare.arm import FPTArmData, FPTArmResult
from monai_fpt.compare.fit import FPTHeadFitting
from monai_fpt.compare.settings import require_number, require_whole

__all__ = ["FPTAttentionMIL", "FPTGatedAttention"]


class FPTGatedAttention(nn.Module):
    """Bags (B, N, C) to logits (B, K).

    Args:
        width: C.
        num_classes: K.
        hidden: D.
        dropout: in the attention and before the classifier.
        skip: leading tokens that are no instances (CLS, registers).
    """

    def __init__(self, width: int, num_classes: int, hidden: int = 128, dropout: float = 0.25, skip: int = 0) -> None:
        super().__init__()
        self.skip = skip
        self.tanh = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(width, hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.score = nn.Linear(hidden, 1)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of bags."""
        instances = tokens[:, self.skip :]
        weights = self.score(self.tanh(instances) * self.gate(instances)).softmax(dim=1)  # (B, N, 1)
        logits: Tensor = self.head((weights * instances).sum(dim=1))
        return logits


@dataclasses.dataclass(frozen=True)
class FPTAttentionMIL:
    """The arm ``attention_mil``.

    Attributes:
        hidden: D of the attention.
        dropout: in the attention.
        learning_rate: of Adam.
        weight_decay: of Adam.
        epochs: at most.
        patience: epochs without a better validation AUC until it stops.
        batch_size: bags a step.
    """

    hidden: int = 128
    dropout: float = 0.25
    learning_rate: float = 2e-4
    weight_decay: float = 1e-5
    epochs: int = 50
    patience: int | None = 10
    batch_size: int = 1

    def __post_init__(self) -> None:
        arm = "attention_mil"
        require_whole(arm, hidden=self.hidden, epochs=self.epochs, batch_size=self.batch_size)
        if self.patience is not None:
            require_whole(arm, patience=self.patience)
        require_number(arm, 0, 1, dropout=self.dropout)
        require_number(arm, 0, learning_rate=self.learning_rate, weight_decay=self.weight_decay)

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Train; validation chooses the epoch."""
        width = arm_data.tokens("training").shape[-1]
        fitted = FPTHeadFitting(
            make_head=lambda: FPTGatedAttention(
                width, arm_data.num_classes, self.hidden, self.dropout, arm_data.num_prefix_tokens
            ),
            make_optimizer=lambda head: torch.optim.Adam(
                head.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
            ),
            epochs=self.epochs,
            batch_size=self.batch_size,
            cosine=False,
            patience=self.patience,
        ).fit(arm_data, seed)
        return FPTArmResult(
            logits=fitted.logits,
            learnable_parameters=fitted.learnable_parameters,
            training_bytes=fitted.training_bytes,
            best_epoch=fitted.best_epoch,
            chosen={"epoch": fitted.best_epoch, "validation_auc": fitted.score},
            history=list(fitted.history),
        )
