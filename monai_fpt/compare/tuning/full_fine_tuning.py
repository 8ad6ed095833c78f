"""Everything learns: fine-tuning as the authors of MAE do it (He et al. 2022, arXiv 2111.06377, appendix A.1), with today's savings.

AdamW, weight decay 0.05, 5 % of warm-up and a cosine, a learning rate that falls by 0.75 from a block to the one before it, stochastic
depth of 0.1. Their learning rate is for 1,024 images a step and a hundred epochs of a million images; here two are trained and validation
chooses: the lower one hardly moves a small network in a few hundred steps, the higher one can undo a large one. Label smoothing, mixup and random erasing are left out: they are for a million images, and no other arm has them. Fused
attention, bfloat16 and a checkpoint per block are how it is run today.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from monai_fpt.compare.tuning.arm import FPTTuningArm

__all__ = ["FPTFullFineTuningArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTFullFineTuningArm(FPTTuningArm):
    """Full fine-tuning."""

    learning_rates: tuple[float, ...] = (1e-4, 5e-4)
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    drop_path: float = 0.1

    def prepare(self, trunk: Any) -> nn.Module:
        """The trunk, all of it learning."""
        model: nn.Module = trunk.requires_grad_(True)
        return model
