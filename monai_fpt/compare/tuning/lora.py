"""LoRA (Hu et al. 2021, arXiv 2106.09685) on the projections of attention, with peft.

The authors adapt the query and value projections with rank 8, scale alpha 16, and train RoBERTa-base with AdamW at 4e-4 to 5e-4, weight
decay 0.1, 6 % of warm-up (their released scripts for GLUE). In timm's ViTs queries, keys and values are one linear layer, ``qkv``: the
adapter is one for all three, keys included, and has as many numbers as theirs: r (C + 3C) here, 2 r (C + C) there. Their linear
schedule is a cosine here, as for all arms.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from monai_fpt.compare.tuning.arm import FPTTuningArm
from monai_fpt.compare.tuning.peft_arm import with_peft

__all__ = ["FPTLoraArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTLoraArm(FPTTuningArm):
    """LoRA.

    Attributes:
        rank: r.
        alpha: the product of the two small matrices is scaled by alpha / r.
        dropout: on the adapter's input, in training.
        target_modules: names of the adapted layers; a backbone with separate projections wants ``("q_proj", "v_proj")``.
    """

    learning_rates: tuple[float, ...] = (5e-4,)
    weight_decay: float = 0.1
    warmup: float = 0.06
    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("qkv",)

    def prepare(self, trunk: Any) -> nn.Module:
        """Small matrices beside the adapted layers, which stay as they are."""
        return with_peft(trunk, self.peft_config())

    def peft_config(self) -> dict[str, Any]:
        """As peft reads it."""
        return {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": list(self.target_modules),
        }
