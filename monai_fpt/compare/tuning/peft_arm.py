"""Any tuner of peft on the backbone: what peft calls a configuration is the arm's.

Decisions:

- peft does it all: which layers are replaced, how they start, what learns. Here is only the door to it. The trunk has no head yet, so
  ``modules_to_save`` is not needed; the head learns beside the adapter.
- peft is an extra of its own (``pip install "monai-fpt[compare]"``) and imported when an arm is built.
- Names of layers are timm's: in most of its ViTs ``qkv`` (queries, keys and values in one linear layer), ``attn.proj``, ``fc1``, ``fc2``;
  ``proj`` alone would be the patch embedding's convolution too.
- Tuners that want to be told of every step (AdaLoRA) are refused: without it they are another method than their name says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from monai_fpt.compare.tuning.arm import FPTTuningArm

__all__ = ["FPTPeftArm", "with_peft"]

_TOLD_EVERY_STEP = {"ADALORA": "LORA"}


@dataclasses.dataclass(frozen=True)
class FPTPeftArm(FPTTuningArm):
    """Any tuner of peft.

    Attributes:
        peft_config: ``peft_type``, as peft names it, and the arguments of its configuration.

    Example:
        >>> arm = FPTPeftArm({"peft_type": "IA3", "target_modules": ["qkv", "fc2"], "feedforward_modules": ["fc2"]}, max_epochs=5)
        >>> arm.peft_config["peft_type"]
        'IA3'
    """

    peft_config: Mapping[str, Any]

    def prepare(self, trunk: Any) -> nn.Module:
        """The trunk in a peft model."""
        return with_peft(trunk, self.peft_config)


def with_peft(trunk: nn.Module, peft_config: Mapping[str, Any]) -> nn.Module:
    """Put a tuner of peft on a model; only the tuner's weights learn.

    Args:
        trunk: the model; its layers are replaced.
        peft_config: ``peft_type`` and the arguments of its configuration.

    Raises:
        ImportError: peft is not installed.
        ValueError: an unknown tuner, arguments that it does not take, or layers that the model does not have.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            f'compare: the tuners of peft cannot be imported ({error}); install them with pip install "monai-fpt[compare]".'
        ) from error
    kind = str(peft_config.get("peft_type"))
    if kind in _TOLD_EVERY_STEP:
        raise ValueError(
            f"compare: peft_type={kind!r} must be told of every training step, which these arms do not do; use {_TOLD_EVERY_STEP[kind]!r}."
        )
    try:
        config = peft.get_peft_config(dict(peft_config))
        model: nn.Module = peft.get_peft_model(trunk, config)  # type: ignore[arg-type, unused-ignore]
    except Exception as error:  # a tuner of peft raises whatever it likes
        raise ValueError(
            f"compare: peft cannot put {dict(peft_config)} on this backbone ({type(error).__name__}: {' '.join(str(error).split())}); correct "
            f'peft_type and its arguments, with target_modules of timm\'s names such as "qkv", "attn.proj", "fc1", "fc2".'
        ) from error
    return model
