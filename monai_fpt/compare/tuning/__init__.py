"""Tuning the backbone itself, as a user would do it instead: LoRA, DoRA, any tuner of peft, BitFit, the last block, everything.

Each arm is a thin file over a kept library (peft, timm), trained as its authors say; :data:`TUNING_ARMS` has those that need no argument,
:class:`FPTPeftArm` takes any configuration of peft. All run with fused attention, bfloat16 and checkpointing, so that their memory is what
it is today.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.compare.tuning.arm import FPTTuningArm
from monai_fpt.compare.tuning.bitfit import FPTBitFitArm
from monai_fpt.compare.tuning.dora import FPTDoraArm
from monai_fpt.compare.tuning.full_fine_tuning import FPTFullFineTuningArm
from monai_fpt.compare.tuning.last_block import FPTLastBlockArm
from monai_fpt.compare.tuning.lora import FPTLoraArm
from monai_fpt.compare.tuning.peft_arm import FPTPeftArm

__all__ = [
    "TUNING_ARMS",
    "FPTBitFitArm",
    "FPTDoraArm",
    "FPTFullFineTuningArm",
    "FPTLastBlockArm",
    "FPTLoraArm",
    "FPTPeftArm",
    "FPTTuningArm",
]

TUNING_ARMS: dict[str, FPTTuningArm] = {
    "lora": FPTLoraArm(),
    "dora": FPTDoraArm(),
    "bitfit": FPTBitFitArm(),
    "last_block": FPTLastBlockArm(),
    "full_fine_tuning": FPTFullFineTuningArm(),
}
"""Name in a table to the arm with its default settings."""
