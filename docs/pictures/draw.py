"""Draw the pictures of docs/transforms.md: what each preset does to an image.

Real images may not be committed, so each modality has a phantom: arithmetic on a grid with a seed. They show what the
transforms are for (noisy black, tape, dark corners, a right breast), not anatomy.

    python docs/pictures/draw.py [FOLDER]
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from monai.transforms import Compose
from PIL import Image
from scipy import ndimage

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.transforms import (
    FPTBenGraham,
    FPTClahe,
    FPTResize,
    FPTShadesOfGray,
    FPTWindow,
    RandFPTSideAugment,
    fpt_transforms,
)

SHOWN = 320  # pixels of a panel


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, as multiples of half the height from the centre: y down, x to the right."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    return (rows - (height - 1) / 2) / (height / 2), (columns - (width - 1) / 2) / (height / 2)


def soft(inside: np.ndarray, width: float = 0.02) -> np.ndarray:
    """A smooth step: 0 where the argument is far below 0, 1 far above."""
    return 1 / (1 + np.exp(-np.clip(inside / width, -50, 50)))


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Smooth noise with mean 0 and deviation 1."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), grain)
    return (smooth - smooth.mean()) / smooth.std()


def lines(shape: tuple[int, int], paths: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Soft curves (rows, columns, thickness in pixels) as one plane in [0, 1]."""
    plane = np.zeros(shape)
    for rows, columns, thickness in paths:
        dots = np.zeros(shape)
        fits = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        dots[rows[fits].astype(int), columns[fits].astype(int)] = 1
        distance = ndimage.distance_transform_edt(dots == 0)
        plane = np.maximum(plane, np.exp(-((distance / thickness) ** 2)))
    return plane


def fundus() -> torch.Tensor:
    """A disc cut at top and bottom on noisy black, with vessels, optic disc, macula and uneven light."""
    rng = np.random.default_rng(0)
    height, width = 420, 640
    y, x = grid(height, width)
    radius = np.hypot(y, x)
    disc_y, disc_x = -0.05, 0.55
    paths = []
    for side in (-1, 1):
        for spread in (0.25, 0.55, 0.95, 1.35):
            t = np.linspace(0, 1, 1500)
            py = disc_y + side * spread * np.sin(t * 2.0) * (1 - 0.25 * t)
            px = disc_x - (1.5 - 0.35 * spread) * t + 0.1 * (np.sin(5 * t + spread) - np.sin(spread))
            bend = (py * height / 2 + height / 2, px * height / 2 + width / 2)
            paths.append((*bend, 2.6 - 1.2 * spread / 1.35))
            nasal = disc_x + 0.5 * t, disc_y + side * 0.5 * spread * t
            paths.append((nasal[1] * height / 2 + height / 2, nasal[0] * height / 2 + width / 2, 1.4))
    vessels = lines((height, width), paths)
    light = 0.8 - 0.25 * radius + 0.25 * x
    base = light * (1 + 0.04 * noise(rng, (height, width), 6))
    base = base * (1 - 0.45 * np.exp(-(((x + 0.25) ** 2 + (y - 0.05) ** 2) / 0.03)))  # macula
    optic = np.exp(-((np.hypot(y - disc_y, x - disc_x) / 0.17) ** 4))
    red, green, blue = 0.95 * base, 0.5 * base, 0.25 * base
    colour = np.stack([red, green, blue]) * (1 - vessels * np.array([0.35, 0.6, 0.5])[:, None, None])
    colour = colour + optic * np.array([0.25, 0.35, 0.25])[:, None, None] * (1 - 0.6 * vessels)
    for ly, lx in rng.uniform(-0.7, 0.7, (14, 2)):
        lesion = np.exp(-(((y - ly) ** 2 + (x - lx) ** 2) / rng.uniform(1e-4, 6e-4)))
        tint = np.array([0.2, 0.35, 0.1] if lx > 0 else [-0.35, -0.3, -0.1])[:, None, None]
        colour = colour + lesion * tint
    inside = soft(1.08 - radius, 0.008)
    black = 0.012 + 0.008 * np.abs(rng.standard_normal((3, height, width)))
    return torch.from_numpy(np.clip(colour * inside + black, 0, 1)).float()


def dermoscopy() -> torch.Tensor:
    """A lesion with dark corners, hairs and a ruler, under reddish light."""
    rng = np.random.default_rng(3)
    height, width = 440, 600
    y, x = grid(height, width)
    skin = np.array([0.86, 0.66, 0.58])[:, None, None] * (1 + 0.03 * noise(rng, (height, width), 3))
    angle = np.arctan2(y + 0.05, x + 0.1)
    edge = 0.5 + 0.08 * np.sin(3 * angle) + 0.05 * np.sin(7 * angle + 1) + 0.03 * np.cos(11 * angle)
    inside = soft(edge - np.hypot(0.75 * (x + 0.1), y + 0.05), 0.035)
    mottled = 1 + 0.16 * noise(rng, (height, width), 7) + 0.08 * noise(rng, (height, width), 2)
    lesion = np.array([0.42, 0.25, 0.2])[:, None, None] * mottled
    colour = skin * (1 - inside) + lesion * inside
    paths = []
    for start, slope in ((60, 0.5), (190, -0.35), (330, 0.22)):
        t = np.linspace(0, width - 1, 1500)
        paths.append((start + slope * t + 25 * np.sin(t / 90 + start), t, 1.3))
    for number in range(30):
        t = np.full(60, 20.0 + number * 19)
        paths.append((height - 1.0 - np.linspace(0, 24 if number % 5 == 0 else 12, 60), t, 1.0))
    colour = colour * (1 - 0.75 * lines((height, width), paths))
    colour = colour * soft(1.34 - np.hypot(y, x), 0.03) + 0.02
    return torch.from_numpy(np.clip(colour * np.array([1.1, 0.9, 0.85])[:, None, None], 0, 1)).float()


def mammography() -> torch.Tensor:
    """A right breast (chest wall at the right) on noisy black, with a lead label and a strip of tape."""
    rng = np.random.default_rng(1)
    height, width = 640, 480
    y, x = grid(height, width)
    wall = x.max()
    shape = 0.98 - ((wall - x) / 1.02) ** 2 - np.abs((y - 0.1) / 0.78) ** 2.4
    inside = soft(shape, 0.02)
    gland = soft(0.62 - np.hypot((wall - x - 0.4) / 0.75, (y - 0.12) / 0.6), 0.12)
    ducts = np.clip(noise(rng, (height, width), 5), -1, 2) + 0.6 * np.clip(noise(rng, (height, width), 2), -1, 2)
    tissue = 0.24 + gland * (0.24 + 0.09 * ducts) + 0.015 * noise(rng, (height, width), 2)
    tissue = tissue * np.clip(0.55 + 1.6 * shape, 0.55, 1)
    mass = np.exp(-(((wall - x - 0.5) ** 2 + (y - 0.3) ** 2) / 0.004)) * 0.35
    image = (tissue + mass) * inside + 0.012 + 0.008 * np.abs(rng.standard_normal((height, width)))
    label = (y > -0.93) & (y < -0.8) & (x > -0.66) & (x < -0.36)
    letters = label & (np.sin(x * 95) > 0.1) & (np.abs(y + 0.865) < 0.045)
    image[label], image[letters] = 0.5, 0.95
    image[(y > 0.82) & (y < 0.9) & (x < -0.4)] = 0.4
    return torch.from_numpy(np.clip(image, 0, 1)).float().expand(3, -1, -1).clone()


def chest() -> torch.Tensor:
    """Two lungs, ribs, spine, heart on the viewer's right, clavicles and an L marker."""
    rng = np.random.default_rng(2)
    height, width = 420, 520
    y, x = grid(height, width)
    body = soft(1.04 - np.hypot(x / 1.12, np.maximum(-y - 0.15, 0) / 0.85 + np.maximum(y, 0) * 0.1), 0.03)
    image = 0.58 * body
    for side in (-1, 1):
        centre = 0.52 * side
        lung = soft(1 - np.abs((x - centre + 0.1 * side * y) / 0.37) ** 2.4 - np.abs((y + 0.05) / 0.72) ** 2.6, 0.06)
        image = image - 0.38 * lung
        for rib in range(8):
            path = -0.75 + 0.19 * rib + 0.42 * (np.abs(x) - 0.5) ** 2 + 0.12 * (np.abs(x) - 0.5)
            image = image + 0.075 * np.exp(-(((y - path) / 0.032) ** 2)) * (side * x > 0.12) * (np.abs(x) < 0.98)
        clavicle = -0.72 - 0.12 * (side * x - 0.2)
        image = image + 0.13 * np.exp(-(((y - clavicle) / 0.04) ** 2)) * soft(side * x - 0.1) * soft(0.85 - side * x)
    tilted = (x - 0.2) * 0.85 + (y - 0.3) * 0.5, (y - 0.3) * 0.85 - (x - 0.2) * 0.5
    heart = soft(1 - (tilted[0] / 0.46) ** 2 - (tilted[1] / 0.34) ** 2, 0.1)
    image = image * (1 - heart) + 0.66 * heart
    image = image + 0.16 * np.exp(-((x / 0.09) ** 2)) * (0.85 + 0.15 * np.sin(y * 34)) * body
    for side, top in ((-1, 0.52), (1, 0.6)):
        dome = soft(y - top - 0.35 * (x - 0.5 * side) ** 2, 0.03) * (side * x > 0)
        image = np.maximum(image, 0.62 * dome * body)
    vessels = np.clip(noise(rng, (height, width), 4), 0, 3) * np.exp(-((np.abs(x) - 0.3) ** 2 / 0.05 + y**2 / 0.25))
    image = image + 0.035 * vessels + 0.012 * rng.standard_normal((height, width))
    marker = ((np.abs(x - 1.02) < 0.02) & (np.abs(y + 0.78) < 0.09)) | (
        (np.abs(x - 1.06) < 0.06) & (np.abs(y + 0.7) < 0.018)
    )
    image[marker] = 0.97
    return torch.from_numpy(np.clip(image, 0, 1)).float().expand(3, -1, -1).clone()


def ct() -> torch.Tensor:
    """A slice through a chest in Hounsfield units, (1, H, W)."""
    rng = np.random.default_rng(4)
    size = 420
    y, x = grid(size, size)
    hu = np.full((size, size), -1000.0)
    edge = 1 - (x / 0.9) ** 2 - (y / 0.66) ** 2
    hu[edge > 0] = -95  # fat
    hu[1 - (x / 0.82) ** 2 - (y / 0.58) ** 2 > 0] = 55  # muscle
    for side in (-1, 1):
        lung = 1 - np.abs((x - 0.43 * side) / 0.31) ** 2.2 - np.abs((y + 0.02) / 0.44) ** 2.2
        hu[lung > 0] = -850
        airways = np.clip(noise(rng, (size, size), 2.2), 0, 4) > 1.7
        hu[(lung > 0.05) & airways] = -250
    hu[((x - 0.05) / 0.27) ** 2 + ((y + 0.12) / 0.25) ** 2 < 1] = 45  # heart
    hu[((x - 0.0) / 0.1) ** 2 + ((y + 0.2) / 0.1) ** 2 < 1] = 180  # contrast
    hu[((x - 0.16) / 0.07) ** 2 + ((y - 0.24) / 0.07) ** 2 < 1] = 170  # aorta
    hu[((x + 0.42) / 0.07) ** 2 + ((y + 0.02) / 0.06) ** 2 < 1] = 20  # nodule
    hu[(x / 0.13) ** 2 + ((y - 0.4) / 0.11) ** 2 < 1] = 700  # vertebra
    hu[(x / 0.09) ** 2 + ((y - 0.4) / 0.075) ** 2 < 1] = 250
    hu[(np.abs(x) < 0.035) & (y > 0.45) & (y < 0.6)] = 650
    for turn in np.deg2rad([15, 45, 135, 165, 195, 225, 255, 285, 315, 345]):
        cy, cx = 0.53 * np.sin(turn), 0.77 * np.cos(turn)
        along = (x - cx) * -np.sin(turn) + (y - cy) * np.cos(turn)
        across = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        hu[(along / 0.1) ** 2 + (across / 0.028) ** 2 < 1] = 600  # ribs
    hu = ndimage.gaussian_filter(hu, 0.8) + 12 * rng.standard_normal(hu.shape)
    return torch.from_numpy(hu)[None].float()


def prepared(name: str, image: torch.Tensor, **more: Any) -> torch.Tensor:
    """The image as a preset prepares it and the backbone sees it."""
    preset = json.loads((fpt_bundle_root() / "configs" / "presets" / f"{name}.json").read_text(encoding="utf-8"))
    done = Compose(fpt_transforms(preset["preparing"]))({"image": image, **more})["image"]
    return FPTResize(SHOWN)(done)


def turned(image: torch.Tensor, preset: str) -> torch.Tensor:
    """One augmented side image, as the preset's probabilities allow."""
    settings = json.loads((fpt_bundle_root() / "configs" / "presets" / f"{preset}.json").read_text(encoding="utf-8"))
    chances = {name: settings[name] for name in ("flip_prob", "vertical_flip_prob", "rotate_prob")}
    return RandFPTSideAugment(SHOWN, **chances).set_random_state(4)(image)


def save(path: Path, panels: dict[str, torch.Tensor]) -> None:
    """One row of panels under their titles."""
    heights = [
        2.6 * image.shape[1] / image.shape[2] if image.shape[1] > image.shape[2] else 2.6 for image in panels.values()
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.9 * len(panels), max(heights) + 0.35), dpi=80)
    for axis, (title, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="antialiased")
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_fundus() -> dict[str, torch.Tensor]:
    image = fundus()
    done = prepared("fundus", image)
    return {"before": image, "after": done, "optional: FPTBenGraham": FPTBenGraham()(done)}


def draw_dermoscopy() -> dict[str, torch.Tensor]:
    image = dermoscopy()
    done = prepared("dermoscopy", image)
    constant = prepared("dermoscopy", FPTShadesOfGray()(image))
    return {
        "before": image,
        "after": done,
        "side image, augmented": turned(done, "dermoscopy"),
        "optional: FPTShadesOfGray": constant,
    }


def draw_mammography() -> dict[str, torch.Tensor]:
    image = mammography()
    return {"before: right breast, label, tape": image, "after": prepared("mammography", image, laterality="R")}


def draw_chest() -> dict[str, torch.Tensor]:
    image = chest()
    done = prepared("cxr", image)
    return {
        "before": image,
        "after: a square, not mirrored": done,
        "side image, augmented": turned(done, "cxr"),
        "optional: FPTClahe": FPTClahe()(done),
    }


def draw_ct() -> dict[str, torch.Tensor]:
    hu = ct()
    names = ["lung", "soft_tissue", "bone"]
    windows = FPTWindow(names)(hu)
    channels = {f"channel {n}: {name}": windows[n : n + 1].expand(3, -1, -1) for n, name in enumerate(names)}
    return {"before: all HU": FPTWindow("full")(hu).expand(3, -1, -1), **channels, "after: the three as one": windows}


PICTURES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "fundus": draw_fundus,
    "dermoscopy": draw_dermoscopy,
    "mammography": draw_mammography,
    "cxr": draw_chest,
    "ct": draw_ct,
}


def main(folder: Path) -> None:
    """Draw all pictures into a folder."""
    for name, panels in PICTURES.items():
        save(folder / f"{name}.png", panels())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
