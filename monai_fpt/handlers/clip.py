"""Gradient clipping for MONAI's trainer, which has no setting for it (the paper clips the norm at 1.0)."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import IterationEvents

__all__ = ["FPTGradientClipHandler"]


class FPTGradientClipHandler:
    """Clip the norm of all gradients between backward pass and optimizer step; under AMP they are unscaled first.

    Args:
        max_norm: largest total L2 norm.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        if not max_norm > 0:
            raise ValueError(f"max_norm must be positive but is {max_norm}.")
        self.max_norm = max_norm

    def attach(self, engine: Any) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip the gradients of the trainer's optimizer."""
        if getattr(engine, "scaler", None) is not None:
            engine.scaler.unscale_(engine.optimizer)
        parameters = [p for group in engine.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
