"""BitFit (Ben Zaken et al. 2022, arXiv 2106.10199): every bias of the backbone learns, and the head.

The authors search learning rates of 1e-4, 4e-4, 7e-4 and 1e-3 with AdamW and batches of 16; the last is taken, for a head that starts at
zero on few images. Biases have no weight decay. timm's ``qkv`` has one bias for queries, keys and values; that of the keys cannot change
an attention, here as in theirs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from monai_fpt.compare.tuning.arm import FPTTuningArm

__all__ = ["FPTBitFitArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTBitFitArm(FPTTuningArm):
    """BitFit."""

    learning_rates: tuple[float, ...] = (1e-3,)

    def prepare(self, trunk: Any) -> nn.Module:
        """The trunk, its biases learning (``bias``, and ``q_bias`` or ``v_bias`` where a family has them)."""
        for name, parameter in trunk.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[2].endswith("bias"))
        model: nn.Module = trunk
        return model
