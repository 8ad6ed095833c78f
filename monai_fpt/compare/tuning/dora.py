"""DoRA (Liu et al. 2024, arXiv 2402.09353) with peft: LoRA for the direction of a weight, and a learned length of every output.

The authors keep LoRA's settings and change the learning rate alone; so does this arm, at LoRA's own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from monai_fpt.compare.tuning.lora import FPTLoraArm

__all__ = ["FPTDoraArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTDoraArm(FPTLoraArm):
    """DoRA; the settings are those of :class:`~monai_fpt.compare.tuning.lora.FPTLoraArm`."""

    def peft_config(self) -> dict[str, Any]:
        """As peft reads it."""
        return super().peft_config() | {"use_dora": True}
