"""Gradient clipping for MONAI's trainer, which has no setting for it (the paper clips the norm at 1.0)."""

from __future__ import annotations

from typing import Any

from monai.engines import IterationEvents

from monai_fpt.networks import clip_member_gradients

__all__ = ["FPTGradientClipHandler"]


class FPTGradientClipHandler:
    """Clip the norm of gradients between backward pass and optimizer step; under AMP they are unscaled first.

    Each member of a network of several is clipped alone, see :func:`~monai_fpt.networks.clip_member_gradients`.

    Args:
        max_norm: largest L2 norm, of all gradients that learn together.

    Raises:
        ValueError: a norm that is not positive.
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
        names_of = {id(parameter): name for name, parameter in engine.network.named_parameters()}
        gradients = {
            names_of.get(id(parameter), f"{number}.{place}"): parameter.grad
            for number, group in enumerate(engine.optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
            if parameter.grad is not None
        }
        clip_member_gradients(gradients, self.max_norm)
