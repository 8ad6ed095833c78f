"""Extraction by one and by several processes of one machine: wall time, processor seconds, and whether caches are equal.

    python -m benchmarks.processes [--images FOLDER] [--count 64] [--processes 1 2] [--backbone vit_tiny_patch16_224]
        [--backbone_weights FILE] [--image_size 512] [--rounds 1] [--device cpu|cuda]

Every number of processes is started by ``torch.distributed.run``; each process takes its share of the images, one thread
each, into a cache of its own making. Measured is from the moment when all processes have their network until the last has
its last image on disk, so that starting Python does not count; processor seconds are those of the processes in that time.
Wall times tell something only where nobody else computes: the load is printed beside them. Where others do, processor
seconds an image say whether processes hinder each other. Without FOLDER photographs are drawn. On GPUs process n takes GPU n.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from PIL import Image, ImageOps

from benchmarks.cases import Options
from benchmarks.epoch import write_photograph
from benchmarks.measure import Row
from monai_fpt.features import FeatureSpec, FeatureStore, extract
from monai_fpt.networks import FPTClassifier, FPTConfig

__all__ = ["Extraction", "contents", "measure"]

_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What is measured.

    Attributes:
        images: files, in this order.
        backbone, backbone_weights, image_size: of the network; None are random weights.
        device: ``"cpu"`` or ``"cuda"``.
    """

    images: tuple[str, ...]
    backbone: str = "vit_tiny_patch16_224"
    backbone_weights: str | None = None
    image_size: int = 512
    device: str = "cpu"

    def run(self, processes: int, cache: Path) -> dict[str, float]:
        """Extract into a new cache by this many processes.

        Returns:
            ``wall`` and ``cpu`` seconds of the extraction, and the load of the machine when it began.
        """
        told = cache.with_suffix(".json")
        told.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
        work = [*command, "-m", "benchmarks.processes", "--work", str(told), "--into", str(cache)]
        subprocess.run(work, check=True, env=environment, stdout=subprocess.DEVNULL)
        found: dict[str, float] = json.loads(told.read_text(encoding="utf-8"))
        return found


def _work(told: Path, cache: Path) -> None:
    """One process of an extraction; the first writes what all needed."""
    asked = Extraction(**json.loads(told.read_text(encoding="utf-8")))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if asked.device == "cuda" else "cpu"
    network = FPTClassifier(
        FPTConfig(backbone=asked.backbone, backbone_weights=asked.backbone_weights, image_size=asked.image_size)
    )
    store = FeatureStore(cache, FeatureSpec.from_network(network, preprocessing="pillow"))
    items = [{"key": path, "image": path} for path in asked.images]
    network.backbone(torch.zeros(1, 3, asked.image_size, asked.image_size))  # what is made at the first pass
    torch.distributed.barrier()
    load, wall, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    extract(items, store, network.backbone, _load, device=device, progress=False)
    cpu = time.process_time() - cpu
    torch.distributed.barrier()
    wall = time.perf_counter() - wall
    spent: list[Any] = [None] * count
    torch.distributed.all_gather_object(spent, cpu)
    if rank == 0:
        told.write_text(json.dumps({"wall": wall, "cpu": sum(spent), "load": load}), encoding="utf-8")
    torch.distributed.destroy_process_group()


def _load(item: Any) -> torch.Tensor:
    with Image.open(item["image"]) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1).float() / 255


def contents(cache: Path) -> dict[str, bytes]:
    """Key to the bytes of the record of every image."""
    store, found = FeatureStore(cache), {}
    size = store.layout.num_bytes
    for entry in store:
        with open(cache / "parts" / f"{entry.part}.bin", "rb") as file:
            file.seek(entry.row * size)
            found[entry.key] = file.read(size)
    return found


def compare(asked: Extraction, numbers: Sequence[int], rounds: int = 1) -> list[Row]:
    """A row for each number of processes, against the first of them; of several rounds the fastest counts."""
    unit = "GPU" if asked.device == "cuda" else "CPU"
    with tempfile.TemporaryDirectory() as folder:
        found: dict[int, dict[str, float]] = {}
        for turn in range(rounds):
            for number in numbers:
                cache = Path(folder) / f"{number}_{turn}"
                once = asked.run(number, cache)
                found[number] = min(found.get(number, once), once, key=lambda one: one["wall"])
        first = contents(Path(folder) / f"{numbers[0]}_0")
        same = {number: contents(Path(folder) / f"{number}_0") == first for number in numbers}
    rows = []
    for number in numbers:
        ratio = found[numbers[0]]["wall"] / found[number]["wall"]
        cpu = 1e3 * found[number]["cpu"] / len(asked.images)
        note = f"{cpu:.0f} CPU-ms an image, load {found[number]['load']:.1f} at the start"
        note += "" if number == numbers[0] else f", records {'equal bit by bit' if same[number] else 'NOT equal'}"
        ms = 1e3 * found[number]["wall"] / len(asked.images)
        what = f"extraction by {number} process{'es' if number > 1 else ''} ({unit})"
        rows.append(
            Row(what, ms, "wall ms/image", 1e3 * found[numbers[0]]["wall"] / len(asked.images), ratio, note=note)
        )
    return rows


def measure(options: Options) -> list[Row]:
    """One and two processes on drawn photographs; on GPUs one and as many as there are."""
    with tempfile.TemporaryDirectory() as folder:
        count = 256 if options.device == "cuda" else 32
        paths = [Path(folder) / f"{index}.jpg" for index in range(count)]
        for index, path in enumerate(paths):
            write_photograph(path, 1024, index)
        backbone = options.backbone if options.device == "cuda" else "vit_tiny_patch16_224"
        numbers = [1, torch.cuda.device_count()] if options.device == "cuda" else [1, 2]
        asked = Extraction(tuple(map(str, paths)), backbone, None, options.image_size, options.device)
        return compare(asked, sorted(set(numbers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--backbone_weights")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(options.work, options.into)
        return
    from benchmarks.measure import machine, table

    with tempfile.TemporaryDirectory() as drawn:
        folder = options.images or Path(drawn)
        if options.images is None:
            for index in range(options.count):
                write_photograph(folder / f"{index}.jpg", 1024, index)
        paths = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)[: options.count]
        asked = Extraction(tuple(paths), options.backbone, options.backbone_weights, options.image_size, options.device)
        rows = compare(asked, options.processes, options.rounds)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    print(table(rows))


if __name__ == "__main__":
    main()
