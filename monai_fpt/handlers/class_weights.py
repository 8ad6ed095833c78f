"""Tell the loss how far the training is, for class weights that decay from balanced to equal."""

from __future__ import annotations

from typing import Any

from ignite.engine import Events

__all__ = ["FPTClassWeightHandler"]


class FPTClassWeightHandler:
    """Call ``loss.set_progress((epoch - 1) / max_epochs)`` at the start of every epoch.

    Args:
        loss: an ``FPTLoss``.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def attach(self, engine: Any) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Set the progress."""
        self.loss.set_progress((engine.state.epoch - 1) / engine.state.max_epochs)
