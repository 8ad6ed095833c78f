"""One line per epoch for the person who waits: loss, the metric that decides, how it stands to the best, time.

MONAI's ``StatsHandler`` prints a traceback of its own whenever an engine is interrupted, and every iteration or none.
"""

from __future__ import annotations

import time
from typing import Any

from ignite.engine import Events

from monai_fpt.handlers._ranks import process_rank

__all__ = ["FPTProgressHandler"]


class FPTProgressHandler:
    """Print a line at the end of every epoch of a trainer, or all metrics of an evaluator that stands alone.

    Attach it behind the ``ValidationHandler``.

    Args:
        evaluator: of the validation; None where the handler is attached to an evaluator itself.
        title: what an evaluator's metrics are called.
    """

    def __init__(self, evaluator: Any | None = None, title: str = "Test") -> None:
        self.evaluator = evaluator
        self.title = title
        self._loss = 0.0
        self._count = 0
        self._began = 0.0

    def attach(self, engine: Any) -> None:
        """Attach to a trainer, or without ``evaluator`` to an evaluator."""
        if self.evaluator is None:
            engine.add_event_handler(Events.COMPLETED, self.completed)
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Any) -> None:
        """Begin to count."""
        self._loss, self._count, self._began = 0.0, 0, time.monotonic()

    def iteration_completed(self, engine: Any) -> None:
        """Add the batch's loss."""
        output = engine.state.output
        outputs = output if isinstance(output, list) else [output]
        self._loss += sum(float(one["loss"]) for one in outputs) / len(outputs)
        self._count += 1

    def epoch_completed(self, engine: Any) -> None:
        """Print the epoch's line."""
        if process_rank() != 0:
            return
        line = f"epoch {engine.state.epoch}/{engine.state.max_epochs}  loss {self._loss / max(1, self._count):.4f}"
        state = self.evaluator.state if self.evaluator is not None else None
        if state is not None and state.key_metric_name in state.metrics and state.epoch == engine.state.epoch:
            name, value = state.key_metric_name, float(state.metrics[state.key_metric_name])
            line += f"  validation {name} {value:.4f}"
            line += "  (best so far)" if state.best_metric_epoch == state.epoch else f"  (best {state.best_metric:.4f})"
        print(f"{line}  {time.monotonic() - self._began:.1f} s", flush=True)

    def completed(self, engine: Any) -> None:
        """Print an evaluator's metrics."""
        if process_rank() == 0:
            numbers = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(engine.state.metrics.items()))
            print(f"{self.title}: {numbers}", flush=True)
