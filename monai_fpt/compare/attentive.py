"""Attentive probe on cached tokens: one learned query attends to all tokens of the last layer, an MLP and a linear layer read the answer.

The pooling is timm's ``AttentionPoolLatent``. Trained as V-JEPA's frozen evaluation trains it (Bardes et al. 2024, arXiv 2404.08471, section
4 and appendix; AIM, El-Nouby et al. 2024, arXiv 2401.08541, does so too): AdamW, cosine to zero, weight decay 0.01, gradients clipped at 1, 20 epochs, several
learning rates of which validation chooses one. Efficient probing (Psomas et al., ICLR 2026) is the same without the query projection:
``q_proj=False``.
"""

from __future__ import annotations

import dataclasses

import torch
from timm.layers import AttentionPoolLatent
from torch import nn

from monai_fpt.compare.arm import FPTArmData, FPTArmResult
from monai_fpt.compare.fit import FPTFittedHead, FPTHeadFitting
from monai_fpt.compare.scoring import is_better
from monai_fpt.compare.settings import require_number, require_whole, several_numbers

__all__ = ["FPTAttentiveProbe"]


@dataclasses.dataclass(frozen=True)
class FPTAttentiveProbe:
    """The arm ``attentive_probe``.

    Attributes:
        learning_rates: of which validation chooses one.
        weight_decay: of AdamW.
        epochs: of each.
        batch_size: images a step.
        warmup: share of the steps in which the learning rate rises.
        queries: learned queries, averaged.
        q_proj: whether queries are projected.
    """

    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    weight_decay: float = 0.01
    epochs: int = 20
    batch_size: int = 16
    warmup: float = 0.1
    queries: int = 1
    q_proj: bool = True

    def __post_init__(self) -> None:
        arm = "attentive_probe"
        object.__setattr__(self, "learning_rates", several_numbers(arm, "learning_rates", self.learning_rates))
        if min(self.learning_rates) <= 0:
            raise ValueError(f"{arm}: learning_rates={list(self.learning_rates)} must be numbers above 0.")
        require_whole(arm, epochs=self.epochs, batch_size=self.batch_size, queries=self.queries)
        require_number(arm, 0, weight_decay=self.weight_decay)
        require_number(arm, 0, 1, warmup=self.warmup)

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Train with every learning rate; validation chooses rate and epoch."""
        width = arm_data.tokens("training").shape[-1]
        best: tuple[float, FPTFittedHead] | None = None
        for rate in self.learning_rates:
            fitting = FPTHeadFitting(
                make_head=lambda: self._head(width, arm_data),
                make_optimizer=lambda head, rate=rate: torch.optim.AdamW(  # type: ignore[misc]
                    head.parameters(), lr=rate, weight_decay=self.weight_decay
                ),
                epochs=self.epochs,
                batch_size=self.batch_size,
                warmup=self.warmup,
                clip_norm=1.0,
            )
            fitted = fitting.fit(arm_data, seed)
            if is_better(fitted.score, None if best is None else best[1].score):
                best = (rate, fitted)
        assert best is not None
        rate, fitted = best
        return FPTArmResult(
            logits=fitted.logits,
            learnable_parameters=fitted.learnable_parameters,
            training_bytes=fitted.training_bytes,
            best_epoch=fitted.best_epoch,
            chosen={"learning_rate": rate, "epoch": fitted.best_epoch, "validation_auc": fitted.score},
            history=list(fitted.history),
        )

    def _head(self, width: int, arm_data: FPTArmData) -> nn.Module:
        pool = AttentionPoolLatent(
            width,
            num_heads=arm_data.backbone.num_heads,
            latent_len=self.queries,
            q_proj=self.q_proj,
            norm_layer=nn.LayerNorm,
            pool_type="avg",
        )
        return nn.Sequential(pool, nn.LayerNorm(width), nn.Linear(width, arm_data.num_classes))
