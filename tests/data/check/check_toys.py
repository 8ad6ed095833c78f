"""Pictures with texture, data lists of them, and checked images without files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_fpt.data import FPTDataList
from monai_fpt.data.check import FPTDataReport, check_data_list
from monai_fpt.data.check.finding import CheckedImage
from monai_fpt.data.check.probe import ImageProbe
from monai_fpt.data.datalist import data_item
from monai_fpt.data.facts import ImageFacts


def picture(seed: int, height: int = 60, width: int = 80) -> npt.NDArray[np.uint8]:
    """(height, width, 3) smooth random colours between 20 and 235, another picture for each seed."""
    values = gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (4, 4, 0))
    low, high = values.min(), values.max()
    return (20 + 215 * (values - low) / (high - low)).astype(np.uint8)


def save(path: Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


class ToySet:
    """A clean data set in a folder, 12 + 10 + 10 images of two classes, to which faults are added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sections: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
        seed = 0
        for section, number in (("training", 24), ("validation", 20), ("test", 20)):
            for _ in range(number):
                self.add(section, f"{section}{seed}.png", picture(seed), seed % 2)
                seed += 1

    def add(
        self,
        section: str,
        name: str,
        pixels: npt.NDArray[Any] | bytes,
        label: int = 0,
        group: str | None = None,
        **options: Any,
    ) -> str:
        """Add an image; its patient is its own unless given."""
        path = self.root / name
        if isinstance(pixels, bytes):
            path.write_bytes(pixels)
        else:
            save(path, pixels, **options)
        self.sections[section].append(data_item(self.root, path, label, group or f"patient of {name}"))
        return name

    def data(self, **changes: Any) -> FPTDataList:
        return FPTDataList(classes=("a", "b"), **(self.sections | changes))

    def check(self, **options: Any) -> FPTDataReport:
        return check_data_list(self.data(), progress=False, **({"image_size": 64} | options))


def checked(number: int, label: int | tuple[int, ...], **changes: Any) -> CheckedImage:
    """An image as if it had been read: 100 x 80, PNG, training, a patient of its own."""
    facts = {"format": "PNG", "height": 80, "width": 100, "photometric": "RGB"}
    probe = {"pixel_sha": str(number), "mean": (0.5, 0.5, 0.5), "high": 0.9, "low": 0.1, "colour": True}
    place = {"key": f"{number}.png", "path": f"/{number}.png", "section": "training", "group": f"p{number}"}
    for name, value in changes.items():
        for fields, kind in ((place, CheckedImage), (facts, ImageFacts), (probe, ImageProbe)):
            if name in {field.name for field in dataclasses.fields(kind)}:
                fields[name] = value
                break
        else:
            raise TypeError(name)
    labels = label if isinstance(label, tuple) else (label,)
    measured = ImageProbe(key=str(place["key"]), facts=ImageFacts(**facts), **probe)  # type: ignore[arg-type]
    return CheckedImage(labels=labels, probe=measured, **place)  # type: ignore[arg-type]
