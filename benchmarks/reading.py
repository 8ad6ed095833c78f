"""How long our reader takes beside plain Pillow and plain pydicom, same pixels out: ``python -m benchmarks.reading FOLDER...``.

The plain ways are what a user would write: open, decode, make float32 (3, H, W) in [0, 1]. Both read every file in turn,
one after the other, with a warm page cache, on one thread; the ratio is that of the medians over the rounds. The reduced
decoding of the bundle (``min_size`` of twice the input) is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from PIL import Image

from monai_fpt.data import ImageOptions, ImageReadError, is_image_file, load_medical_image

PILLOW = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def plain_pillow(path: Path) -> torch.Tensor:
    """An 8-bit image as a user of Pillow and torch reads it."""
    with Image.open(path) as image:
        array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().float().div_(255)


def plain_pydicom(path: Path) -> torch.Tensor:
    """A DICOM file as a user of pydicom reads it: modality, VOI, scaled by the bits, three channels."""
    dataset = pydicom.dcmread(path)
    pixels: Any = dataset.pixel_array
    if dataset.SamplesPerPixel == 3:
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255
    values = pydicom.pixels.apply_voi_lut(pydicom.pixels.apply_modality_lut(pixels, dataset), dataset)
    unit = torch.from_numpy(np.asarray(values, dtype=np.float32)) / (2**dataset.BitsStored - 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        unit = 1 - unit
    return unit[None].expand(3, -1, -1).contiguous()


def seconds(read: Callable[[Path], Any], files: list[Path]) -> float:
    """CPU seconds of one round over the files."""
    start = time.process_time()
    for path in files:
        read(path)
    return time.process_time() - start


def measure(name: str, files: list[Path], plain: Callable[[Path], Any], rounds: int, image_size: int) -> dict[str, Any]:
    """Milliseconds a file, ours and plain, in interleaved rounds."""
    reduced = ImageOptions(min_size=2 * image_size)
    ways: dict[str, Callable[[Path], Any]] = {
        "plain": plain,
        "ours": load_medical_image,
        "reduced": lambda path: load_medical_image(path, reduced),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first round warms up
        for way, read in ways.items():
            taken[way].append(seconds(read, files))
    middle = {way: 1000 * statistics.median(found[1:]) / len(files) for way, found in taken.items()}
    return {"files": name, "count": len(files), **middle, "ratio": middle["ours"] / middle["plain"]}


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=40, help="files of each folder and kind")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for folder in options.folders:
        found = sorted(path for path in folder.rglob("*") if is_image_file(path))
        kinds = {
            "Pillow": ([path for path in found if path.suffix.lower() in PILLOW], plain_pillow),
            "pydicom": ([path for path in found if path.suffix.lower() == ".dcm"], plain_pydicom),
        }
        for kind, (paths, plain) in kinds.items():
            both = [
                path for path in paths[: options.limit] if _is_read(load_medical_image, path) and _is_read(plain, path)
            ]
            if both:
                rows.append(measure(f"{folder.name} ({kind})", both, plain, options.rounds, options.image_size))
    print(f"{'files':<36}{'count':>6}{'plain ms':>10}{'ours ms':>10}{'ratio':>8}{'reduced ms':>12}")
    for row in rows:
        print(
            f"{row['files']:<36}{row['count']:>6}{row['plain']:>10.2f}{row['ours']:>10.2f}{row['ratio']:>8.2f}{row['reduced']:>12.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _is_read(read: Callable[[Path], Any], path: Path) -> bool:
    try:
        read(path)
    except (ImageReadError, Exception):
        return False
    return True


if __name__ == "__main__":
    main()
