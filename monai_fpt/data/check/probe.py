"""What is measured of one image, in one reading: identity, a small picture of its looks, and how its values lie.

The file is read and decoded once, whole: an image read at reduced size would have another identity than the same
picture in another container. What is kept is small (about 3 kB an image), so 100,000 images fit in memory; pictures for
the page are read again, a few for each finding. Decisions:

* ``pixel_sha`` is of the decoded values rounded to 16 bits, so a PNG and a BMP of one picture are the same, and grey
  stored as grey or as colour is the same. A frame of a volume has the identity of that frame, not of its file.
* Statistics are taken at the square input of the network, so that they are what ``mean`` and ``std`` of a training are.
* ``look`` is stretched to its own black and white before it becomes bytes: a dark image keeps its detail.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.facts import ImageFacts, ImageOptions
from monai_fpt.data.image import read_medical_image

__all__ = ["LOOK_SIZE", "ImageProbe", "probe_image", "probe_images"]

LOOK_SIZE = 32
_RIM_GRID = 64  # the rim of an image is the outermost cells of a grid of so many
_COLOUR_SPREAD = 0.06  # channels that differ by less are noise of a lossy format
_COLOUR_SHARE = 0.001
_NO_FACTS = ImageFacts(format="", height=0, width=0)


@dataclasses.dataclass(frozen=True)
class ImageProbe:
    """What is known of one image after one reading.

    Attributes:
        key: of the data list.
        error: why the image could not be read, a sentence; empty where it could, and only then the rest is filled.
        pixel_sha: sha256 of height, width and the decoded pixels.
        file_sha: sha256 of the bytes of the file.
        facts: of the file.
        look: (32, 32) uint8, grey, stretched from its smallest to its largest value.
        mean: of each channel at the square input, in [0, 1].
        mean_square: of each channel at the square input.
        smallest: value of any pixel and channel, in [0, 1].
        largest: likewise.
        low: 0.5th percentile of grey at the square input.
        high: 99.5th percentile.
        black: share of pixels at exactly 0 in all channels.
        white: share of pixels at exactly 1 in all channels.
        white_rim: share of the image's rim that is white.
        colour: whether the channels differ.
        constant: whether every channel has one value only.
    """

    key: str
    error: str = ""
    pixel_sha: str = ""
    file_sha: str = ""
    facts: ImageFacts = _NO_FACTS
    look: npt.NDArray[np.uint8] = dataclasses.field(
        default_factory=lambda: np.zeros((LOOK_SIZE, LOOK_SIZE), np.uint8), repr=False
    )
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mean_square: tuple[float, float, float] = (0.0, 0.0, 0.0)
    smallest: float = 0.0
    largest: float = 0.0
    low: float = 0.0
    high: float = 0.0
    black: float = 0.0
    white: float = 0.0
    white_rim: float = 0.0
    colour: bool = False
    constant: bool = False


def probe_image(item: Mapping[str, Any], options: ImageOptions, image_size: int) -> ImageProbe:
    """Read and measure one image; what goes wrong is a result, not an exception.

    Args:
        item: of a data list; its ``frame`` takes the place of the options'.
        options: how files become pixels. ``min_size`` is not obeyed, see the module's story.
        image_size: side of the square input in pixels.
    """
    key = str(item["key"])
    frame = item.get("frame", options.frame)
    try:
        stat = os.stat(item["image"])
        file_sha = _file_sha(str(item["image"]), stat.st_size, stat.st_mtime_ns)
        pixels, facts = read_medical_image(item["image"], dataclasses.replace(options, frame=frame, min_size=None))
    except Exception as error:  # whatever a decoder raises
        return ImageProbe(key, error=" ".join(str(error).split()) or type(error).__name__)
    square = F.interpolate(
        pixels[None], size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=True
    )[0].clamp(0, 1)
    grey = square.mean(dim=0)
    low, high = np.quantile(grey.numpy(), (0.005, 0.995))
    white = (pixels == 1).all(dim=0)
    spread = square.amax(dim=0) - square.amin(dim=0)
    return ImageProbe(
        key=key,
        pixel_sha=_pixel_sha(pixels),
        file_sha=file_sha,
        facts=facts,
        look=_look(grey),
        mean=_three(square.mean(dim=(1, 2))),
        mean_square=_three(square.square().mean(dim=(1, 2))),
        smallest=float(pixels.min()),
        largest=float(pixels.max()),
        low=float(low),
        high=float(high),
        black=float((pixels == 0).all(dim=0).float().mean()),
        white=float(white.float().mean()),
        white_rim=_rim_share(white),
        colour=float((spread > _COLOUR_SPREAD).float().mean()) > _COLOUR_SHARE,
        constant=bool((pixels.amin(dim=(1, 2)) == pixels.amax(dim=(1, 2))).all()),
    )


@lru_cache(maxsize=4)
def _file_sha(path: str, size: int, mtime_ns: int) -> str:
    """sha256 of a file's bytes; remembered, since the slices of a volume lie in one file."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _pixel_sha(pixels: Tensor) -> str:
    """sha256 of size and 16-bit values, of one channel where all three are equal."""
    grey = bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())
    channels = pixels[:1] if grey else pixels
    values = (channels.numpy() * np.float32(65535)).round().astype("<u2")
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _look(grey: Tensor) -> npt.NDArray[np.uint8]:
    small = F.adaptive_avg_pool2d(grey[None], LOOK_SIZE)[0]
    low, high = small.min(), small.max()
    stretched = (small - low) / (high - low).clamp(min=1e-6) * 255
    bytes_: npt.NDArray[np.uint8] = stretched.round().clamp(0, 255).to(torch.uint8).numpy()
    return bytes_


def _rim_share(mask: Tensor) -> float:
    """Share of an image's rim where a (H, W) mask is mostly true."""
    cells = F.adaptive_avg_pool2d(mask[None].float(), _RIM_GRID)[0] > 0.5
    rim = torch.cat([cells[0], cells[-1], cells[1:-1, 0], cells[1:-1, -1]])
    return float(rim.float().mean())


def _three(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


class _Probes(Dataset[ImageProbe]):
    """Probes of items, for a DataLoader."""

    def __init__(self, items: Sequence[Mapping[str, Any]], options: ImageOptions, image_size: int) -> None:
        self.items, self.options, self.image_size = items, options, image_size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> ImageProbe:
        return probe_image(self.items[index], self.options, self.image_size)


def _unstacked(batch: list[ImageProbe]) -> list[ImageProbe]:
    return batch


def probe_images(
    items: Sequence[Mapping[str, Any]],
    options: ImageOptions,
    image_size: int,
    *,
    num_workers: int = 0,
    progress: bool = True,
) -> list[ImageProbe]:
    """Read and measure images, each once.

    Args:
        items: of a data list.
        options: how files become pixels.
        image_size: side of the square input in pixels.
        num_workers: processes that read; 0 reads in this one.
        progress: show a progress bar on standard error.

    Returns:
        one probe an item, in their order.
    """
    loader = DataLoader(
        _Probes(items, options, image_size), batch_size=8, num_workers=num_workers, collate_fn=_unstacked
    )
    probes: list[ImageProbe] = []
    with tqdm_bar(total=len(items), unit="image", desc="Checking images", progress=progress) as bar:
        for batch in loader:
            probes += batch
            bar.update(len(batch))
    return probes
