"""The predictions of a whole evaluation, collected sample by sample.

MONAI's engines give, after decollating, one dictionary per sample. The rows keep the order of the data: with several
ranks MONAI's and torch's distributed samplers deal the samples out like cards (rank r has samples r, r + R, r + 2R,
...), so the parts are put together in that way. Nothing is keyed by name: two samples of one name are two rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events

from monai_fpt.handlers._ranks import world_size

__all__ = ["PredictionRow", "RowCollector", "dealt_together", "gathered_rows", "rows_of"]


@dataclass(frozen=True)
class PredictionRow:
    """One sample: name (if any), K probabilities, label (if any): a class number, or K zeros and ones; and its group
    (patient), which is the name where none is known; K logits where the postprocessing keeps them."""

    key: str | None
    probabilities: tuple[float, ...]
    label: int | tuple[int, ...] | None
    group: str | None = None
    logits: tuple[float, ...] | None = None


def rows_of(engine: Any, asked_by: str) -> list[PredictionRow]:
    """The rows of the iteration that an evaluator has just completed.

    Args:
        engine: its ``state.output`` (or ``state.batch``, for the key) are lists of dictionaries.
        asked_by: who needs them, for the error message.

    Raises:
        ValueError: the output is not decollated or has no ``pred``.
    """
    output, batch = engine.state.output, engine.state.batch
    if not isinstance(output, list) or not all(isinstance(o, dict) and "pred" in o for o in output):
        raise ValueError(
            f"{asked_by} needs one dictionary with 'pred' for every sample but the engine gives something else: "
            "leave decollate at true and let the postprocessing keep 'pred'."
        )
    batches = batch if isinstance(batch, list) and len(batch) == len(output) else [{}] * len(output)
    return [_row(o, b if isinstance(b, dict) else {}) for o, b in zip(output, batches, strict=True)]


class RowCollector:
    """Attached to an evaluator it collects the rows of an evaluation and hands them to :meth:`finished` at its end."""

    def __init__(self) -> None:
        self._rows: list[PredictionRow] = []

    def attach(self, engine: Any) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Any) -> None:
        """Forget the rows of an evaluation before."""
        self._rows = []

    def iteration_completed(self, engine: Any) -> None:
        """Take the rows of a batch."""
        self._rows.extend(rows_of(engine, type(self).__name__))

    def completed(self, engine: Any) -> None:
        """Put the rows of all ranks together. All ranks must call it."""
        self.finished(engine, gathered_rows(self._rows))

    def finished(self, engine: Any, rows: list[PredictionRow]) -> None:
        """Use the rows of all ranks, in the order of the data."""
        raise NotImplementedError


def _row(output: dict[str, Any], batch: dict[str, Any]) -> PredictionRow:
    key = output.get("key", batch.get("key"))
    label = output.get("label", batch.get("label"))
    group = output.get("group", batch.get("group", key))
    logits = output.get("logits")
    values = None if label is None else torch.as_tensor(label).flatten().tolist()
    many = values is not None and torch.as_tensor(label).ndim > 0 and len(values) > 1
    return PredictionRow(
        key=None if key is None else str(key),
        probabilities=tuple(torch.as_tensor(output["pred"]).double().flatten().tolist()),
        label=None if not values else tuple(int(v) for v in values) if many else int(values[0]),
        group=None if group is None else str(group),
        logits=None if logits is None else tuple(torch.as_tensor(logits).double().flatten().tolist()),
    )


def gathered_rows(rows: list[PredictionRow]) -> list[PredictionRow]:
    """The rows of all ranks in the order of the data, on every rank. All ranks must call it."""
    if world_size() == 1:
        return list(rows)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, rows)
    return dealt_together(parts)


def dealt_together(parts: list[list[PredictionRow]]) -> list[PredictionRow]:
    """Take one row of every part in turn until all are used."""
    return [row for turn in zip_longest(*parts) for row in turn if row is not None]
