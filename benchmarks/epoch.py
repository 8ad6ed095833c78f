"""A training epoch end to end, from JPEG photographs of high resolution to updated weights.

Plain: every epoch every photograph is decoded, flipped, jittered and cropped at full resolution, to make a small image of
it, and its float32 features are read from a file of its own. Ours: thumbnail and features are read from the cache, the
thumbnail gets the same augmentation. Neither counts the one extraction. Features are random numbers: they change no time.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.cases import Case, Options
from benchmarks.measure import Row, interleaved
from benchmarks.training_step import step
from monai_fpt.features import FeatureDataset, FeatureSpec, FeatureStore
from monai_fpt.networks import resize_image

__all__ = ["Augment", "measure", "write_photograph"]

_MEAN, _STD = 0.5, 0.25


def write_photograph(path: Path, pixels: int, seed: int) -> None:
    """A JPEG that is as hard to decode as a photograph: smooth colour with fine noise."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize(
        (pixels, pixels), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse, dtype=np.float32) + generator.normal(0, 6, (pixels, pixels, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _box(width: int, height: int) -> tuple[float, float, float, float]:
    """Of a random crop of 0.8 to 1 of the area and an aspect of 0.7 to 1.3: left, top, right, bottom."""
    area, aspect = random.uniform(0.8, 1.0), random.uniform(0.7, 1.3)
    w, h = min(1.0, (area * aspect) ** 0.5) * width, min(1.0, (area / aspect) ** 0.5) * height
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    return left, top, left + w, top + h


def plain_image(path: Path, size: int) -> Tensor:
    """Decode, flip, jitter, crop: at full resolution, as one writes it first."""
    image = Image.open(path).convert("RGB")
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2))
    image = ImageEnhance.Contrast(image).enhance(random.uniform(0.8, 1.2))
    image = image.crop(tuple(round(edge) for edge in _box(*image.size))).resize((size, size), Image.Resampling.BILINEAR)
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - _MEAN) / _STD


class Augment:
    """The same on a thumbnail, as a dictionary transform.

    Args:
        size: pixels of the side image.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        image = item["image"].float() / 255
        if random.random() < 0.5:
            image = image.flip(-1)
        image = (image * random.uniform(0.8, 1.2)).clamp(0, 1)
        mean = image.mean()
        image = (mean + (image - mean) * random.uniform(0.8, 1.2)).clamp(0, 1)
        left, top, right, bottom = (round(edge) for edge in _box(image.shape[2], image.shape[1]))
        image = resize_image(image[None, :, top:bottom, left:right], self.size)[0]
        return item | {"image": (image - _MEAN) / _STD}


class _PlainImages(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        features = load_file(path.with_suffix(".safetensors"))
        return {"image": plain_image(path, self.size), **features, "label": index % 5}


def measure(options: Options, images: int = 32) -> list[Row]:
    case = Case(options)
    model = case.model
    spec = FeatureSpec.from_network(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.jpg" for index in range(images)]
        store = FeatureStore(Path(folder) / "cache", spec)
        with store.writer() as writer:
            for index, path in enumerate(paths):
                write_photograph(path, options.photo, index)
                features = torch.randn(spec.feature_shape)
                save_file(
                    {"keys": features[:, 0].contiguous(), "values": features[:, 1].contiguous()},
                    path.with_suffix(".safetensors"),
                )
                indices = torch.zeros(len(spec.blocks), spec.num_heads, spec.num_tokens, dtype=torch.int64)
                with Image.open(path) as photograph:
                    small = np.array(photograph.resize((spec.thumbnail_size,) * 2, Image.Resampling.BILINEAR))
                thumbnail = torch.from_numpy(small).permute(2, 0, 1).contiguous()
                stat = path.stat()
                writer.add(str(path), f"{index:064x}", stat.st_size, stat.st_mtime_ns, features, indices, thumbnail)
        items = [{"key": str(path), "image": str(path), "label": index % 5} for index, path in enumerate(paths)]
        ours = DataLoader(FeatureDataset(items, store, Augment(model.side_size)), options.batch, shuffle=True)
        plain = DataLoader(_PlainImages(paths, model.side_size), options.batch, shuffle=True)
        batch: dict[str, Any] = {}
        device = options.device

        def our_loss() -> Tensor:
            logits = model(batch["image"].to(device), batch["features"].to(device))
            return torch.nn.functional.cross_entropy(logits, batch["label"].to(device))

        def plain_loss() -> Tensor:
            logits = case.plain(*(batch[name].to(device) for name in ("image", "keys", "values")))
            return torch.nn.functional.cross_entropy(logits, batch["label"].to(device))

        our_step, plain_step = step(model, our_loss), step(case.plain, plain_loss)

        def epoch(loader: DataLoader[Any], run: Any) -> None:
            for loaded in loader:
                batch.update(loaded)
                run()

        cases = {
            "plain": lambda: epoch(plain, plain_step),
            "ours": lambda: epoch(ours, our_step),
            "loading": lambda: epoch(ours, lambda: None),
            "plain loading": lambda: epoch(plain, lambda: None),
        }
        seconds = {name: s / images * 1e3 for name, s in interleaved(cases, max(3, options.rounds // 3)).items()}
    ratio = seconds["plain"] / seconds["ours"]
    share = seconds["loading"] / seconds["ours"]
    return [
        Row(
            f"training epoch from {options.photo}-px JPEGs",
            seconds["ours"],
            "CPU-ms/image",
            seconds["plain"],
            ratio,
            ">= 20 x",
            ratio >= 20,
            "without the one extraction",
        ),
        Row(
            "of it loading",
            seconds["loading"],
            "CPU-ms/image",
            seconds["plain loading"],
            seconds["plain loading"] / seconds["loading"],
            "never the bottleneck",
            share < 0.5,
            f"{100 * share:.0f} % of our epoch, {100 * seconds['plain loading'] / seconds['plain']:.0f} % of the plain one",
        ),
    ]
