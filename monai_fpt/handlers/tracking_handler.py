"""Record what MONAI's engines do in an ``FPTTracker``.

One handler per engine, all with the same tracker, so that training, validation and test are one MLflow run. The step of
every record is the epoch of the training, also for the validation (MONAI hands it the trainer's epoch).

Decisions:

- The training loss is the mean over the samples of the epoch, kept as a running sum on the loss's own device.
- The learning rate is the one the epoch began with: it does not depend on whether a scheduler is listed before or
  after.
- ``epoch_seconds`` is the time of the training's iterations; validation and checkpoints, which run at the end of the
  epoch, are not in it.
- ignite runs the first ``EXCEPTION_RAISED`` handler only, for each of them must raise the exception again. List this
  handler before MONAI's ``StatsHandler``. Listed behind it, the run still ends as FAILED when the process does
  (``_exits``).
- The handler never closes a run as FINISHED: a test may follow. Whoever knows the end calls ``tracker.close()``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
import torch
from ignite.engine import Events

from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers._rows import PredictionRow, gathered_rows, rows_of
from monai_fpt.metrics.inputs import checked_task

__all__ = ["FPTTrackingHandler"]

ROLES = ("train", "val", "test")
MEGABYTE = 2**20


class FPTTrackingHandler:
    """Record one engine: metrics per epoch, and for a test its figures.

    Args:
        tracker: an ``FPTTracker`` shared by all engines of the run. role: ``"train"`` (attach to the trainer; also
        loss, learning rate, time and memory), ``"val"`` or ``"test"``. Metrics are named ``train_...``, ``val_...``,
        ``test_...``. optimizer: whose learning rate is recorded; by default the trainer's. classes: names of the
        classes in a test's figures; by default their numbers. task: of a test's figures, ``"multiclass"`` or
        ``"multilabel"``.

    Raises:
        ValueError: unknown role or task.
    """

    def __init__(
        self,
        tracker: Any,
        role: str = "train",
        optimizer: torch.optim.Optimizer | None = None,
        classes: Sequence[str] | None = None,
        task: str = "multiclass",
    ) -> None:
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)} but is {role!r}.")
        self.tracker = tracker
        self.role = role
        self.optimizer = optimizer
        self.classes = None if classes is None else [str(name) for name in classes]
        self.task = checked_task(task)
        self._rows: list[PredictionRow] = []
        self._rates: dict[str, float] = {}
        self._loss: Any = 0.0
        self._samples = 0
        self._began = self._last = time.perf_counter()

    def attach(self, engine: Any) -> None:
        """Attach to the engine of this role."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.exception_raised)
        if self.role == "test":
            engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Any) -> None:
        """Make the run and say on what it runs."""
        self._rows = []
        if self.role == "train":
            self.tracker.set_tags({"device": _device_name(engine.state.device)})
            sizes = {"max_epochs": engine.state.max_epochs, "epoch_length": engine.state.epoch_length}
            self.tracker.log_params(sizes)
        else:
            self.tracker.start()

    def epoch_started(self, engine: Any) -> None:
        """Begin to count."""
        self._loss, self._samples = 0.0, 0
        self._began = self._last = time.perf_counter()
        optimizer = self.optimizer or getattr(engine, "optimizer", None)
        groups = [] if optimizer is None or self.role != "train" else optimizer.param_groups
        self._rates = {f"lr_{i}" if len(groups) > 1 else "lr": float(g["lr"]) for i, g in enumerate(groups)}

    def iteration_completed(self, engine: Any) -> None:
        """Add the batch's loss, or keep a test's predictions."""
        if self.role == "train":
            loss, count = _loss_of(engine.state.output)
            self._loss = self._loss + loss * count
            self._samples += count
        elif self.role == "test":
            self._rows.extend(rows_of(engine, type(self).__name__))
        self._last = time.perf_counter()

    def epoch_completed(self, engine: Any) -> None:
        """Record the epoch."""
        prefix = f"{self.role}_"
        record: dict[str, Any] = {
            name if name.startswith(prefix) else prefix + name: value for name, value in engine.state.metrics.items()
        }
        if self.role == "train":
            if self._samples:
                record["train_loss"] = float(self._loss) / self._samples
            record.update(self._rates)
            record["epoch_seconds"] = self._last - self._began
            record.update(_peak_memory(engine.state.device))
        else:
            record[f"{prefix}seconds"] = self._last - self._began
        self.tracker.log_metrics(record, step=engine.state.epoch)

    def completed(self, engine: Any) -> None:
        """Record the figures of a test (all ranks gather, rank 0 draws)."""
        rows = [row for row in gathered_rows(self._rows) if _labelled(row)]
        self._rows = []
        if not rows or process_rank() != 0:
            return
        from monai_fpt.handlers.figures import confusion_figure, roc_figure  # matplotlib only where it is needed

        probabilities = torch.tensor([row.probabilities for row in rows], dtype=torch.float64)
        labels = torch.tensor([row.label for row in rows])
        classes = self.classes or [str(k) for k in range(probabilities.shape[1])]
        if torch.isnan(probabilities).any():
            return  # a diverged network: its metrics say so
        if self.task == "multilabel":
            labels = labels.reshape(len(rows), -1)
        else:
            figure = confusion_figure(labels, probabilities.argmax(1), classes)
            self.tracker.log_figure(figure, f"figures/{self.role}_confusion.png")
        self.tracker.log_figure(roc_figure(probabilities, labels, classes, self.task), f"figures/{self.role}_roc.png")

    def exception_raised(self, engine: Any, error: BaseException) -> None:
        """End the run as what it is, and let the exception go its way."""
        self.tracker.fail(error)
        raise error


def _labelled(row: PredictionRow) -> bool:
    return row.label is not None and (not isinstance(row.label, int) or row.label >= 0)


def _loss_of(output: Any) -> tuple[Any, int]:
    """Mean loss of a batch and its number of samples, from MONAI's decollated or plain output."""
    if isinstance(output, list) and output and isinstance(output[0], dict) and "loss" in output[0]:
        return output[0]["loss"], len(output)  # decollating gives every sample the batch's loss
    if isinstance(output, dict) and "loss" in output:
        loss = output["loss"]
        return (loss.detach() if isinstance(loss, torch.Tensor) else loss), 1
    return 0.0, 0


def _device_name(device: Any) -> str:
    device = torch.device(device or "cpu")
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _peak_memory(device: Any) -> dict[str, float]:
    """Highest memory of this process so far, in MiB: of the host, and of the GPU when on one."""
    if sys.platform == "win32":
        peak = {"peak_rss_mb": psutil.Process().memory_info().peak_wset / MEGABYTE}
    else:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE}
    device = torch.device(device or "cpu")
    if device.type == "cuda":
        peak["peak_cuda_mb"] = torch.cuda.max_memory_allocated(device) / MEGABYTE
    return peak
