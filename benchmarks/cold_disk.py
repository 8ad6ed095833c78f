"""Features larger than memory: an epoch read from the page cache, and one read from the disk.

    python -m benchmarks.cold_disk [--gigabytes 2] [--folder DIR] [--backbone NAME] [--image_size 512] [--workers 0 2]
        [--rounds 3]

A store of random features is written to DIR. *Warm* is an epoch after another one, with all of it in the page cache. For
*cold* its files are dropped from the page cache before each epoch (``posix_fadvise(DONTNEED)``, after which ``mincore`` says
what is still there), so that every record comes from the disk once, as in every epoch of a training whose features are
larger than memory. Where the machine is a virtual one its host may still have them: the rate is then the host's.

Reading alone is a loader that makes shuffled batches of 16, float16, whole features copied. A step is forward, backward,
clipping and AdamW on each batch, and is set against the same step on one batch that stays in memory. Wall times are medians;
processor seconds of this process and its workers are beside them, for where others compute too.

``ahead`` tells the system which records a batch will need before the first of them is read (``madvise(WILLNEED)``).
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.cases import Case, Options
from benchmarks.measure import Row, machine, table
from benchmarks.training_step import step
from monai_fpt.features import FeatureDataset, FeatureEntry, FeatureSpec, FeatureStore

__all__ = ["AheadDataset", "drop_from_page_cache", "measure", "random_store", "resident_share"]


class AheadDataset(FeatureDataset):
    """A FeatureDataset that is asked for whole batches, and tells the system of a batch's records first."""

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        entries = self.entries()
        for index in sorted(indices, key=lambda one: (entries[one].part, entries[one].row)):
            will_need(self.store, entries[index])
        return [self[index] for index in indices]


def will_need(store: FeatureStore, entry: FeatureEntry) -> None:
    """Let the system read a record while we do something else."""
    size = store.layout.num_bytes
    start = entry.row * size
    first = start - start % mmap.PAGESIZE
    store._map(entry.part, start + size).madvise(mmap.MADV_WILLNEED, first, start + size - first)


def random_store(folder: Path, spec: FeatureSpec, count: int) -> tuple[FeatureStore, list[dict[str, Any]]]:
    """A cache of random features, and the data list it belongs to (whose images are not there)."""
    store = FeatureStore(folder, spec)
    generator = torch.Generator().manual_seed(0)
    indices = torch.zeros(len(spec.blocks), spec.num_heads, spec.num_tokens, dtype=torch.int64)
    thumbnail = torch.zeros(3, spec.thumbnail_size, spec.thumbnail_size, dtype=torch.uint8)
    with store.writer() as writer:
        for number in range(count):
            features = torch.randn(spec.feature_shape, generator=generator)
            writer.add(f"{number}", f"{number:064x}", 0, 0, features, indices, thumbnail)
            if number % 16 == 15:
                writer.flush()
    return store, [{"key": f"{number}", "label": number % 5} for number in range(count)]


def drop_from_page_cache(folder: Path) -> None:
    """Forget a cache's records; only what nobody has mapped can be dropped, so that open stores must be gone."""
    for path in (folder / "parts").glob("*.bin"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(folder: Path) -> float:
    """Share of a cache's pages that are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = total = 0
    for path in (folder / "parts").glob("*.bin"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            pages = -(-len(mapped) // mmap.PAGESIZE)
            marks = (ctypes.c_ubyte * pages)()
            view = (ctypes.c_char * len(mapped)).from_buffer(mapped)
            if libc.mincore(ctypes.byref(view), ctypes.c_size_t(len(mapped)), marks):
                raise OSError(ctypes.get_errno(), "mincore failed")
            del view
            there, total = there + sum(mark & 1 for mark in marks), total + pages
    return there / max(total, 1)


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class Epochs:
    """Epochs over one store, warm and cold.

    Args:
        folder: of the store.
        items: its data list.
        batch: images a batch.
        train: what to do with a batch; None reads only.
    """

    def __init__(
        self,
        folder: Path,
        items: list[dict[str, Any]],
        batch: int,
        train: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.folder, self.items, self.batch, self.train = folder, items, batch, train

    def laps(self, dataset: type[FeatureDataset], workers: int, cold: bool, rounds: int) -> Lap:
        """The median of some epochs after a first one, by one data set, as a training goes."""
        data = dataset(self.items, FeatureStore(self.folder))
        loader = DataLoader(data, self.batch, shuffle=True, num_workers=workers)
        self._epoch(loader)
        laps, shares = [], []
        for _ in range(rounds):
            if cold:
                data.store._maps.clear()  # mapped pages cannot be dropped
                drop_from_page_cache(self.folder)
            shares.append(resident_share(self.folder))
            wall, cpu = time.perf_counter(), _cpu()
            self._epoch(loader)
            laps.append((time.perf_counter() - wall, _cpu() - cpu))
        wall, cpu = (statistics.median(one) / len(self.items) for one in zip(*laps, strict=True))
        return Lap(wall, cpu, statistics.mean(shares))

    def _epoch(self, loader: DataLoader[Any]) -> None:
        for loaded in loader:
            if self.train is not None:
                self.train(loaded)


@dataclasses.dataclass(frozen=True)
class Lap:
    """Wall and processor seconds an image, and the share of the store that was in the page cache when epochs began."""

    wall: float
    cpu: float
    share: float


def measure(
    options: Options, gigabytes: float = 0.5, workers: Sequence[int] = (0, 2), folder: str | None = None
) -> list[Row]:
    case = Case(options)
    spec = FeatureSpec.from_network(case.model)
    size = FeatureStore(Path("nowhere"), spec).layout.num_bytes
    count = max(2 * options.batch, int(gigabytes * 1e9 / size) // options.batch * options.batch)
    batch: dict[str, Any] = {"features": case.stored("float16"), "label": case.labels}

    def loss() -> torch.Tensor:
        logits = case.model(case.image[: len(batch["label"])], batch["features"].to(options.device))
        return torch.nn.functional.cross_entropy(logits, batch["label"].to(options.device))

    update = step(case.model, loss)

    def train(loaded: dict[str, Any]) -> None:
        batch.update(loaded)
        update()

    rounds = max(3, options.rounds // 3)
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        _, items = random_store(Path(place), spec, count)
        reading, training = Epochs(Path(place), items, options.batch), Epochs(Path(place), items, options.batch, train)
        for number in workers:
            memory = _in_memory(update, max(3, count // options.batch // 2)) / options.batch
            for name, epochs in (("reading", reading), ("training", training)):
                warm = epochs.laps(FeatureDataset, number, False, rounds)
                for kind, dataset in (("", FeatureDataset), (", ahead", AheadDataset)):
                    cold = epochs.laps(dataset, number, True, rounds)
                    what = f"{name} cold against warm, {number} workers{kind}"
                    note = _note(size, warm, cold) + ("" if epochs is reading else _against(memory, warm, cold))
                    ratio = warm.wall / cold.wall
                    rows.append(Row(what, 1e3 * cold.wall, "wall ms/image", 1e3 * warm.wall, ratio, note=note))
    return rows


def _in_memory(update: Callable[[], None], steps: int) -> float:
    """Median wall seconds of a step on a batch that is in memory."""
    laps = []
    for _ in range(steps):
        start = time.perf_counter()
        update()
        laps.append(time.perf_counter() - start)
    return statistics.median(laps)


def _note(size: int, warm: Lap, cold: Lap) -> str:
    return (
        f"{size / warm.wall / 1e6:.0f} MB/s warm, {size / cold.wall / 1e6:.0f} cold; {1e3 * warm.cpu:.1f} and {1e3 * cold.cpu:.1f} "
        f"CPU-ms; {warm.share:.0%} and {cold.share:.0%} of the store in the page cache at the start"
    )


def _against(memory: float, warm: Lap, cold: Lap) -> str:
    return (
        f"; {memory / warm.wall:.0%} and {memory / cold.wall:.0%} of the speed with the batch in memory "
        f"({1e3 * memory:.1f} ms/image)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder")
    parser.add_argument("--backbone", default=Options.backbone)
    parser.add_argument("--image_size", type=int, default=Options.image_size)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    options = Options(backbone=chosen.backbone, image_size=chosen.image_size, rounds=chosen.rounds)
    rows = measure(options, chosen.gigabytes, chosen.workers, chosen.folder)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    print(table(rows))


if __name__ == "__main__":
    main()
