"""The last block learns, the norm behind it, and the head: partial fine-tuning (He et al. 2022, MAE, arXiv 2111.06377, section 4.3).

Numbers are those of full fine-tuning, as the authors have it; without stochastic depth, which would drop frozen blocks. Blocks below the
ones that learn keep nothing for the backward pass; a checkpoint would keep their inputs, so there is none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from monai_fpt.compare.tuning.arm import FPTTuningArm

__all__ = ["FPTLastBlockArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTLastBlockArm(FPTTuningArm):
    """Partial fine-tuning.

    Attributes:
        num_blocks: how many of the last blocks learn.

    Raises:
        ValueError: no block.
    """

    learning_rates: tuple[float, ...] = (5e-4,)
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    checkpointing: bool = False
    num_blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.num_blocks, bool) or not isinstance(self.num_blocks, int) or self.num_blocks < 1:
            raise ValueError(f"compare: num_blocks={self.num_blocks!r} must be a whole number of at least 1.")

    def prepare(self, trunk: Any) -> nn.Module:
        """The trunk, its last blocks and what follows them learning."""
        if self.num_blocks > len(trunk.blocks):
            raise ValueError(f"compare: num_blocks={self.num_blocks} is more than the backbone's {len(trunk.blocks)}.")
        after = [getattr(trunk, name, None) for name in ("norm", "attn_pool", "fc_norm")]
        for part in [*trunk.blocks[-self.num_blocks :], *after]:
            if isinstance(part, nn.Module):
                part.requires_grad_(True)
        model: nn.Module = trunk
        return model
