"""A small image folder, a small network and ways to run an extraction in another process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_fpt.features import FeatureSpec, FeatureStore, StoredImage, extract
from monai_fpt.networks import FPTClassifier, FPTConfig

SIZE = 32
CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224",
    backbone_weights=None,
    image_size=SIZE,
    side_size=16,
    num_tokens=2,
    token_ratio=None,
    blocks=(1,),
    backbone_kwargs={"depth": 2},
)


def load_toy(item: Mapping[str, Any]) -> Tensor:
    """The format of these tests: a file of 8-bit numbers, (3, 32, 32)."""
    raw = Path(item["image"]).read_bytes()
    if len(raw) != 3 * SIZE * SIZE:
        raise ValueError(f"{Path(item['image']).name} has {len(raw)} bytes, expected {3 * SIZE * SIZE}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(3, SIZE, SIZE).float() / 255


class SlowLoad:
    """Reads as ``load_toy`` does, but takes its time, so that a signal meets it at work."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, item: Mapping[str, Any]) -> Tensor:
        time.sleep(self.seconds)
        return load_toy(item)


def write_image(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    path.write_bytes(pixels.numpy().tobytes())
    return path


def make_items(folder: Path, names: Sequence[str], first_seed: int = 0) -> list[dict[str, Any]]:
    return [
        {"image": str(write_image(folder / name, first_seed + i)), "key": name, "label": i % 2}
        for i, name in enumerate(names)
    ]


def in_process(work: Callable[[], Any], environment: Mapping[str, str] | None = None) -> Any:
    """Start ``work`` in a forked process, which has everything imported already."""

    def body() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment or {})
        work()

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    return process


def run_and_signal(work: Callable[[], Any], path: Path, which: int, after: int) -> int:
    """Run ``work`` in a process, send a signal once ``after`` images are in the journal, and give its exit code."""
    process = in_process(work)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        if sum(journal.read_bytes().count(b"\n") for journal in path.glob("parts/*.jsonl")) >= after:
            os.kill(process.pid, which)
            break
        time.sleep(0.005)
    process.join(60)
    assert process.exitcode is not None
    return int(process.exitcode)


def same_content(first: FeatureStore, second: FeatureStore, items: Sequence[Mapping[str, Any]]) -> bool:
    for item in items:
        a, b = (store.read(entry) for store in (first, second) if (entry := store.find(item)) is not None)
        if not all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True)):
            return False
    return True


def flat(stored: StoredImage) -> list[Tensor]:
    features = list(stored.features) if isinstance(stored.features, tuple) else [stored.features]
    return [*features, stored.indices, stored.thumbnail, *([] if stored.tokens is None else [stored.tokens])]


class Toy:
    """A network, its specification, and short ways to a store and an extraction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = FPTClassifier(CONFIG)
        self.backbone = self.network.backbone

    def spec(self, dtype: Any = "float32", **fields: Any) -> FeatureSpec:
        return FeatureSpec.from_network(self.network, dtype=dtype, **fields)

    def store(self, name: str = "cache", dtype: Any = "float32") -> FeatureStore:
        return FeatureStore(self.folder / name, self.spec(dtype))

    def extract(self, items: Any, store: FeatureStore, load: Any = load_toy, **options: Any) -> Any:
        return extract(items, store, self.backbone, load, **({"progress": False, "batch_size": 2} | options))

    def copy(self, name: str, to: str) -> Path:
        return Path(shutil.copytree(self.folder / name, self.folder / to))
