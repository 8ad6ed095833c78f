"""A data set's features on the device as a whole, against reading them from the cache batch by batch.

Both make the same shuffled batches of an epoch, with the same augmentation of thumbnails, and the cache is in the page cache:
what is compared is reading, collating, and on a GPU the bus. *Epoch* is with the training step. On a CPU nothing is to be won
but the copy of a batch; it must not lose.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.cases import Case, Options
from benchmarks.cold_disk import random_store
from benchmarks.epoch import Augment
from benchmarks.measure import Row, interleaved
from benchmarks.training_step import step
from monai_fpt.features import FeatureDataset, FeatureSpec
from monai_fpt.features.resident import FPTResidentFeatures

__all__ = ["measure"]

KINDS = ("cache", "items", "batches")


def measure(options: Options, images: int = 96) -> list[Row]:
    case = Case(options)
    device = options.device
    batch: dict[str, Any] = {}

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(case.model(batch["image"], batch["features"]), batch["label"])

    update = step(case.model, loss)
    with tempfile.TemporaryDirectory() as folder:
        store, items = random_store(Path(folder), FeatureSpec.from_network(case.model), images)
        dataset = FeatureDataset(items, store, Augment(case.model.side_size))
        resident = FPTResidentFeatures(dataset, device)
        from_cache, from_items = (DataLoader(one, options.batch, shuffle=True) for one in (dataset, resident))

        def batches() -> Iterator[dict[str, Any]]:
            for rows in torch.randperm(len(resident)).split(options.batch):
                yield resident.batch(rows.tolist())

        def epoch(source: Callable[[], Iterable[dict[str, Any]]], train: bool) -> None:
            for loaded in source():
                for name in ("image", "features", "label"):
                    batch[name] = loaded[name].to(device)
                if train:
                    update()

        sources: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
            "cache": lambda: from_cache,
            "items": lambda: from_items,
            "batches": batches,
        }
        cases = {
            f"{kind} {train}": lambda source=source, train=train: epoch(source, train)  # type: ignore[misc]
            for kind, source in sources.items()
            for train in (False, True)
        }
        seconds = interleaved(cases, max(3, options.rounds // 3), device)
    unit = "CPU-ms/image" if device == "cpu" else "ms/image"
    rows = []
    for train, what in ((False, "reading"), (True, "epoch")):
        plain = seconds[f"cache {train}"]
        for kind, called in (("items", "by a loader"), ("batches", "by batch()")):
            ours = seconds[f"{kind} {train}"]
            name = f"{what}, features resident, {called}"
            rows.append(Row(name, ours / images * 1e3, unit, plain / images * 1e3, plain / ours))
    return rows
