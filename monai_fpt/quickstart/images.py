"""Pictures for the quickstart: two classes that differ in nothing but details a small view cannot show.

They are drawn, not taken from anybody. A scene is reddish tissue with large blobs, vessels and a vignette; in it lie
a few soft patches of fine detail. Each scene is drawn twice, as twins, once for each class:

- ``specks``: clusters of dots of one or two pixels, like micro-calcifications;
- ``fibres``: the control. The same patches in the same places, with the same energy in the same band of frequencies,
  but as fine lines of a random direction per patch.

Why it is built this way:

- Detail lives above 0.27 cycles per pixel only. Antialiased resizing from 512 to 160 or 128 pixels (Nyquist limits of
  0.156 and 0.125) removes it: small views of twins agree to about a tenth of a grey level (root mean square).
  Nothing is clipped on the way.
- Both details have mean 0 and equal energy, so that brightness, contrast and sharpness say nothing at any size; only
  the arrangement of single pixels does.
- Colour, brightness, blobs, number, place and size of the patches vary from scene to scene and say nothing, since
  twins share them. A network that is blind to the detail gives twins the same score, which is an AUC of 0.5 without
  luck in either direction.
- PNG is lossless: no compression artefact can carry the class down to low resolution.

Twins share a file name and a split; scenes do not repeat between splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "CLASS_NAMES",
    "SCENES_PER_SPLIT",
    "DrawnScene",
    "draw_scene",
    "draw_twins",
    "generate_quickstart_images",
    "quickstart_scene",
]

CLASS_NAMES = ("fibres", "specks")
"""Class folders; the position is the label."""

SCENES_PER_SPLIT: Mapping[str, int] = {"train": 120, "val": 40, "test": 80}
"""Scenes per split; each gives one image per class."""

IMAGE_SIZE = 512
_CUT = (0.27, 0.31)  # cycles per pixel: the detail's spectrum rises from nothing to everything between these
_CELLS = 3  # patches lie in different cells of a grid of 3 x 3, so that they never overlap
_DETAIL_RMS = 10.0  # grey levels where the envelope is 1
_RANGE = (70.0, 165.0)  # grey levels of the tissue; what is left on both sides is room for the detail

_Array = NDArray[np.float32]


def generate_quickstart_images(
    root: str | Path, seed: int = 0, scenes: Mapping[str, int] = SCENES_PER_SPLIT, size: int = IMAGE_SIZE
) -> dict[str, int]:
    """Write ``root/<split>/<class>/scene_<number>.png``, RGB, 8 bit.

    The same arguments give the same pixels, whatever the order or the number of scenes: each scene has a random
    stream of its own.

    Args:
        root: folder to write into; made where it does not exist.
        seed: whole number, 0 or above.
        scenes: number of scenes per split; each gives one image per class.
        size: side of the square images in pixels, at least 192.

    Returns:
        Number of images per split.

    Raises:
        ValueError: a size too small for the patches.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     generate_quickstart_images(folder, scenes={"train": 1, "test": 2}, size=192)
        {'train': 2, 'test': 4}
    """
    if size < 192:
        raise ValueError(
            f"size={size} is too small for the patches; give at least 192, or {IMAGE_SIZE} as in the quickstart."
        )
    for split_index, (split, number) in enumerate(scenes.items()):
        folders = [Path(root) / split / name for name in CLASS_NAMES]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for scene in range(number):
            twins = draw_twins(np.random.default_rng([seed, split_index, scene]), size)
            for folder, pixels in zip(folders, twins, strict=True):
                Image.fromarray(pixels).save(folder / f"scene_{scene:03d}.png", compress_level=1, compress_type=3)
    return {split: number * len(CLASS_NAMES) for split, number in scenes.items()}


class DrawnScene(NamedTuple):
    """A scene and where its sign is.

    Attributes:
        fibres, specks: (size, size, 3) uint8, the twins.
        strength: (size, size) float32 in [0, 1], the envelope of the detail; the twins differ nowhere else.
    """

    fibres: NDArray[np.uint8]
    specks: NDArray[np.uint8]
    strength: _Array


def quickstart_scene(split: str, scene: int, seed: int = 0, size: int = IMAGE_SIZE) -> DrawnScene:
    """The scene of ``<split>/<class>/scene_<number>.png`` as :func:`generate_quickstart_images` draws it, with the place of
    its sign.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SCENES_PER_SPLIT:
        raise ValueError(f"split={split!r} is not one of {', '.join(SCENES_PER_SPLIT)}.")
    return draw_scene(np.random.default_rng([seed, list(SCENES_PER_SPLIT).index(split), scene]), size)


def draw_twins(rng: np.random.Generator, size: int = IMAGE_SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One scene as (fibres, specks), each (size, size, 3) uint8."""
    scene = draw_scene(rng, size)
    return scene.fibres, scene.specks


def draw_scene(rng: np.random.Generator, size: int = IMAGE_SIZE) -> DrawnScene:
    """One scene as both classes, and where they differ."""
    tissue = np.asarray(_tissue(rng, size), np.int16)
    fibres, specks = np.zeros((2, size, size), np.int16)
    strength = np.zeros((size, size), np.float32)
    cell = size // _CELLS
    for place in rng.permutation(_CELLS**2)[: int(rng.integers(3, 6))]:
        side = int(rng.integers(round(0.6 * cell), round(0.95 * cell)))
        top, left = divmod(int(place), _CELLS)
        top, left = (at * cell + int(rng.integers(0, cell - side + 1)) for at in (top, left))
        patch = np.s_[top : top + side, left : left + side]
        *details, strength[patch] = _detail(rng, side)
        fibres[patch], specks[patch] = (np.rint(detail) for detail in details)
    return DrawnScene(
        (tissue + fibres[..., None]).astype(np.uint8), (tissue + specks[..., None]).astype(np.uint8), strength
    )


def _detail(rng: np.random.Generator, side: int) -> tuple[_Array, _Array, _Array]:
    """A patch as (fibres, specks, envelope), each (side, side): grey levels around 0, equal in energy."""
    lattice = (
        side // 3
    )  # at most one dot in 3 x 3 pixels, never side by side: overlapping dots would leave the grey range
    places = np.flatnonzero(rng.random(lattice**2) < rng.uniform(0.15, 0.25))
    rows, columns = (3 * at + rng.integers(0, 2, len(places)) for at in np.divmod(places, lattice))
    dots = np.zeros((side, side), np.float32)
    dots[rows, columns] = rng.uniform(0.6, 1.0, len(places))
    spectrum = np.fft.rfft2(dots) * _high_pass(side)
    phases = np.exp(1j * np.angle(np.fft.rfft2(rng.standard_normal((side, side)))))
    control = np.abs(spectrum) * phases * _direction(side, rng.uniform(0, np.pi))
    envelope = _envelope(rng, side)
    fibres, specks = (np.fft.irfft2(s, s=(side, side)) * envelope for s in (control, spectrum))
    energy = _DETAIL_RMS**2 * (envelope**2).sum()
    return _with_energy(fibres, energy), _with_energy(specks, energy), envelope


def _with_energy(detail: NDArray[np.float64], energy: float) -> _Array:
    return np.asarray(detail * np.sqrt(energy / (detail**2).sum()), np.float32)


def _high_pass(side: int) -> _Array:
    """Gain (side, side // 2 + 1) in the layout of rfft2: 0 below the cut, 1 above, raised cosine between."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    share = np.clip((frequency - _CUT[0]) / (_CUT[1] - _CUT[0]), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * share), np.float32)


def _direction(side: int, angle: float) -> _Array:
    """Gain in the layout of rfft2: 1 for waves along ``angle`` (radians), falling to nothing within about 25 degrees."""
    waves = np.arctan2(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    return np.asarray(np.exp(-(np.sin(waves - angle) ** 2) / (2 * 0.2**2)), np.float32)


def _envelope(rng: np.random.Generator, side: int) -> _Array:
    """Soft roundish mask (side, side), 0 at the border: a wobbling radius with a cosine edge."""
    y, x = np.mgrid[:side, :side] * (2 / (side - 1)) - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    wobble = sum(rng.uniform(0, 0.07) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 5))
    share = np.clip((0.98 - radius - np.abs(wobble)) / 0.45, 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * share), np.float32)


def _tissue(rng: np.random.Generator, size: int) -> Image.Image:
    """Background (size x size, RGB) within ``_RANGE``, drawn small and enlarged: all of it is coarse."""
    full_size, size = size, size // 4
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    light = 0.5 * _clouds(rng, size, 4) + 0.25 * _clouds(rng, size, 9)
    for _ in range(int(rng.integers(2, 6))):
        cy, cx = rng.uniform(-0.4, 0.4, 2)
        width = rng.uniform(0.05, 0.16)
        light = light + rng.uniform(-1.2, 1.2) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    light = light - rng.uniform(0.5, 3.0) * (x**2 + y**2)
    vessels = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        vessels = np.maximum(vessels, _vessel(rng, x, y))
    hue = np.array([1.0, rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.8)], np.float32)
    tint = 0.05 * np.stack([_clouds(rng, size, 3) for _ in range(3)], axis=-1)
    level = rng.uniform(0.45, 0.9) + rng.uniform(0.08, 0.2) * light
    colour = (
        level[..., None] * hue
        + tint
        - rng.uniform(0.1, 0.3) * vessels[..., None] * np.array([0.5, 1.0, 1.0], np.float32)
    )
    low, high = _RANGE
    small = Image.fromarray(np.rint(low + (high - low) / (1 + np.exp(-4 * (colour - 0.5)))).astype(np.uint8))
    return small.resize((full_size, full_size), Image.Resampling.BICUBIC)


def _vessel(rng: np.random.Generator, x: _Array, y: _Array) -> _Array:
    """A winding line (size, size), 1 on it and 0 away from it, several pixels wide."""
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bend = rng.uniform(0.02, 0.08) * np.sin(along * rng.uniform(4, 12) + rng.uniform(0, 6.3)) + rng.uniform(-0.4, 0.4)
    line: _Array = np.exp(-(((across - bend) / rng.uniform(0.008, 0.018)) ** 2)).astype(np.float32)
    return line


def _clouds(rng: np.random.Generator, size: int, cells: int) -> _Array:
    """Smooth noise (size, size) of about unit variance: a few random numbers, resized bicubically."""
    coarse = Image.fromarray(rng.standard_normal((cells + 3, cells + 3)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
