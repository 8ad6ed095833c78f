"""What the data check's near-duplicate search costs, what it finds and spares, and how often shortcuts are false alarms.

    python -m benchmarks.data_check [--number 100000] [--images FOLDER]

Without a folder: time and memory of the search among random looks, and false alarms among sets with random attributes.
With one: least correlation of every image with its changed copies, and greatest of different images, whole and in the
second-worst part.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from monai_fpt.data.check import shortcuts, similar
from monai_fpt.data.check.finding import CheckedImage
from monai_fpt.data.check.probe import ImageProbe, probe_image
from monai_fpt.data.facts import ImageFacts, ImageOptions
from monai_fpt.data.image import is_image_file


def search_time(number: int) -> None:
    rng, common = np.random.default_rng(0), gaussian_filter(np.random.default_rng(1).random((32, 32)), 4)
    looks = np.empty((number, 32, 32), np.uint8)
    for start in range(0, number, 5000):
        part = looks[start : start + 5000]
        values = gaussian_filter(rng.standard_normal(part.shape).astype(np.float32), (0, 1.5, 1.5)) + 30 * common
        values -= values.min(axis=(1, 2), keepdims=True)
        part[:] = 255 * values / values.max(axis=(1, 2), keepdims=True)
    looks[-1] = (looks[5] * 0.9).clip(0, 255)
    start_time = time.perf_counter()
    found = similar.similar_sets(looks, [str(index) for index in range(number)])
    seconds, memory = time.perf_counter() - start_time, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{number:,} looks: {seconds:.1f} s, at most {memory:.1f} GB, found {found}")


def false_alarms(sets: int) -> None:
    rng, alarms = np.random.default_rng(1), 0
    for number in np.repeat((20, 30, 40, 60, 100), sets // 5):
        images = []
        for n in range(number):
            facts = ImageFacts(
                format=str(rng.choice(["PNG", "JPEG"])),
                height=int(rng.integers(400, 1000)),
                width=int(rng.integers(400, 1000)),
                device=f"camera {rng.integers(8)}",
            )
            probe = ImageProbe(f"{n}.png", facts=facts, mean=(float(rng.random()),) * 3)
            images.append(CheckedImage(probe.key, probe.key, "training", (int(rng.integers(2)),), "", probe))
        alarms += any(f.check == "shortcut" for f in shortcuts.find_shortcuts(images, ["a", "b"]))
    print(f"false alarms: {alarms} of {sets} sets of 20 to 100 images")


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "JPEG 80": lambda image: recompressed(image, 80),
    "JPEG 30": lambda image: recompressed(image, 30),
    "a half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brightness 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness 1.2": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "contrast 1.3": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "gamma 0.8": lambda image: image.point(lambda value: int(255 * (value / 255) ** 0.8)),
}


def look_of(image: Image.Image, folder: Path) -> np.ndarray:
    image.save(folder / "look.png")
    return probe_image({"image": str(folder / "look.png"), "key": "look"}, ImageOptions(), 512).look


def second_worst(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = similar._in_parts(a), similar._in_parts(b)
    spreads = a.std(axis=2), b.std(axis=2)
    correlation = (a * b).mean(axis=2) / np.maximum(spreads[0] * spreads[1], 1e-6)
    correlation[np.maximum(*spreads) <= similar._LEAST_SPREAD] = 1
    return np.sort(correlation, axis=1)[:, 1]


def correlations(folder: Path) -> None:
    import tempfile

    images = [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*")) if is_image_file(path)][:100]
    with tempfile.TemporaryDirectory() as scratch:
        looks = np.stack([look_of(image, Path(scratch)) for image in images])
        contrast = similar.local_contrast(looks)
        print(f"{len(images)} images; different ones correlate up to {np.triu(contrast @ contrast.T, 1).max():.3f}")
        for name, change in CHANGES.items():
            changed = np.stack([look_of(change(image), Path(scratch)) for image in images])
            whole = (contrast * similar.local_contrast(changed)).sum(axis=1)
            parts = second_worst(looks, changed)
            missed = ((whole < similar.LEAST_CORRELATION) | (parts < similar.LEAST_IN_PARTS)).sum()
            print(f"{name:<16} whole at least {whole.min():.3f}, second-worst part {parts.min():.3f}, missed {missed}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--images", type=Path)
    arguments = parser.parse_args()
    if arguments.images:
        correlations(arguments.images)
    else:
        false_alarms(1000)
        search_time(arguments.number)
