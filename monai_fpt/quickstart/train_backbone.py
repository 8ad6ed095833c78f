"""Train the small ViT of the quickstart from nothing: ``python -m monai_fpt.quickstart.train_backbone``.

A quickstart needs a frozen backbone that knows fine detail, and may not fetch one. A random ViT does not do
(FPT+ on it: test AUC 0.50), so this one learns from textures drawn here: gratings, strokes, plaids, band-limited noise
and dots, 33 classes by direction, period, density, size and sign, in soft patches on coloured clouds. Every token
says which texture it lies on (cross-entropy), the class token which are present.

What it has not seen are the quickstart's pictures: its textures come from another generator (no twins, no band
limit, no tissue; ellipses of one texture each on 224 pixels), and none of its classes is a class of the quickstart.
It knows dots and noise as an ImageNet network knows fur and gravel; which of them matters is left for FPT+ to learn.

Positions are zero and stay so: a texture is the same everywhere, and the network reads 512 pixels as it read 224. The
same seed on the same machine gives the same weights; a few minutes on two cores. The file holds float16 under timm's
names.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from monai_fpt.quickstart.settings import BACKBONE_KWARGS, BACKBONE_NAME, BACKBONE_WEIGHTS, MEAN, STD

__all__ = ["NUM_TEXTURES", "draw_texture", "train_backbone"]

NUM_TEXTURES = 33
_BLANK = NUM_TEXTURES  # the class of tokens without texture
_IMAGE_SIZE, _PATCH_SIZE, _BANK_SIZE = 224, 32, 256

_Array = NDArray[np.float32]


def draw_texture(rng: np.random.Generator, index: int, size: int = _BANK_SIZE) -> _Array:
    """A (size, size) sample of texture ``index``, mean 0 and standard deviation 1.

    0-11 gratings (4 directions x 3 periods), 12-23 dots (3 densities x 2 sizes x 2 signs), 24-26 noise (3 bands),
    27-30 strokes (4 directions), 31-32 plaids (2 periods). Half of all samples are blurred or sharpened a little.
    """
    if index < 12:
        texture = _grating(rng, size, index % 4, index // 4)
    elif index < 24:
        kind = index - 12
        texture = _dots(rng, size, kind % 3, kind // 3 % 2) * (1 if kind < 6 else -1)
    elif index < 27:
        texture = _noise(rng, size, index - 24)
    elif index < 31:
        texture = _strokes(rng, size, index - 27)
    else:
        direction = int(rng.integers(0, 4))
        texture = _grating(rng, size, direction, index - 31) + _grating(rng, size, (direction + 2) % 4, index - 31)
    texture = _filtered(texture, rng.uniform(-0.8, 1.5) if rng.random() < 0.5 else 0.0)
    texture = texture - texture.mean()
    return np.asarray(texture / texture.std(), np.float32)


def _frequencies(size: int) -> NDArray[np.float64]:
    return np.asarray(np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]), np.float64)


def _filtered(texture: _Array, sharpness: float) -> _Array:
    """Gain exp(sharpness * 4 f) over frequency f in cycles per pixel: blurred below 0, sharpened above."""
    gain = np.exp(4 * sharpness * _frequencies(len(texture)))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(texture) * gain, s=texture.shape), np.float32)


def _grating(rng: np.random.Generator, size: int, direction: int, band: int) -> _Array:
    low, high = ((2.2, 3.2), (3.2, 5.0), (5.0, 9.0))[band]
    angle = math.pi / 4 * (direction + rng.uniform(-0.4, 0.4))
    y, x = np.mgrid[:size, :size]
    phase = 2 * np.pi / rng.uniform(low, high) * (x * np.cos(angle) + y * np.sin(angle))
    return np.asarray(np.sin(phase + rng.uniform(0, 2 * np.pi)), np.float32)


def _dots(rng: np.random.Generator, size: int, density: int, width: int) -> _Array:
    share = (0.006, 0.02, 0.06)[density] * rng.uniform(0.7, 1.4)
    dots = (rng.random((size, size)) < share) * rng.uniform(0.5, 1, (size, size))
    sigma = rng.uniform(0.1, 0.6) if width == 0 else rng.uniform(0.8, 1.4)
    blur = np.exp(-2 * (np.pi * sigma * _frequencies(size)) ** 2)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(dots) * blur, s=dots.shape), np.float32)


def _noise(rng: np.random.Generator, size: int, band: int) -> _Array:
    low, high = ((0.06, 0.15), (0.15, 0.28), (0.28, 0.6))[band]
    frequency = _frequencies(size)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * ((frequency > low) & (frequency < high))
    return np.asarray(np.fft.irfft2(spectrum, s=(size, size)), np.float32)


def _strokes(rng: np.random.Generator, size: int, direction: int) -> _Array:
    angle = math.pi / 4 * (direction + rng.uniform(-0.4, 0.4))
    canvas = np.zeros((size, size), np.float32)
    number = int(size * size * rng.uniform(0.003, 0.012))
    starts = rng.uniform(0, size, (2, number, 1))
    steps = np.arange(int(rng.integers(6, 14)))[None]
    rows, columns = (starts[0] + steps * np.sin(angle), starts[1] + steps * np.cos(angle))
    canvas[np.rint(rows).astype(int) % size, np.rint(columns).astype(int) % size] = rng.choice([-1.0, 1.0])
    return canvas


def _draw_bank(rng: np.random.Generator, samples: int) -> NDArray[np.float16]:
    """(NUM_TEXTURES, samples, size, size)."""
    return np.array(
        [[draw_texture(rng, index).astype(np.float16) for _ in range(samples)] for index in range(NUM_TEXTURES)]
    )


def _draw_image(rng: np.random.Generator, bank: NDArray[np.float16]) -> tuple[_Array, NDArray[np.int64]]:
    """An image (3, 224, 224) in 0..1 and the texture of each patch (7, 7), -100 where a patch is half on one."""
    size, patch = _IMAGE_SIZE, _PATCH_SIZE
    layer = np.zeros((size, size), np.float32)
    label = np.full((size, size), _BLANK, np.int64)
    for _ in range(int(rng.integers(3, 7))):
        index, sample = int(rng.integers(NUM_TEXTURES)), int(rng.integers(bank.shape[1]))
        (cy, cx), (ry, rx) = rng.integers(0, size, 2), rng.integers(40, 100, 2)
        box = np.s_[
            max(0, cy - ry) : min(size, cy + ry), max(0, cx - rx) : min(size, cx + rx)
        ]  # only here is anything drawn
        y, x = np.ogrid[box]
        mask = np.clip(3 - 3 * (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2), 0, 1).astype(np.float32)
        amplitude = math.exp(rng.uniform(math.log(0.012), math.log(0.08)))
        shift = rng.integers(0, _BANK_SIZE - size + 1, 2)
        texture = bank[index, sample, shift[0] :, shift[1] :][box].astype(np.float32)
        layer[box] += mask * (amplitude * texture - layer[box])
        label[box][mask > 0.5] = index
    cells = label.reshape(size // patch, patch, size // patch, patch)
    centre = cells[:, patch // 2, :, patch // 2]
    sure = (cells == centre[:, None, :, None]).mean(axis=(1, 3)) > 0.8
    channels = [
        Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)
        for c in rng.standard_normal((3, 6, 6)).astype(np.float32)
    ]
    tone = rng.uniform(0.3, 0.65, (3, 1, 1)).astype(np.float32)
    image = np.clip(tone + 0.06 * np.array(channels, np.float32) + layer, 0, 1)
    return image, np.where(sure, centre, -100)


def _gabor_filters(rng: np.random.Generator, number: int) -> Tensor:
    """(number, 3, 32, 32): small waves of random place, direction, period and phase, grey, of mean 0 and energy 4.

    A patch embedding that starts so sees detail and not brightness, and training gets going in a hundred steps
    instead of thousands.
    """
    y, x = np.mgrid[:_PATCH_SIZE, :_PATCH_SIZE]
    filters = []
    for _ in range(number):
        cy, cx = rng.uniform(4, _PATCH_SIZE - 4, 2)
        width, angle, period = rng.uniform(1.0, 4.0), rng.uniform(0, np.pi), rng.uniform(2.0, 8.0)
        wave = np.cos(2 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi))
        wave = wave * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
        wave = wave - wave.mean()
        filters.append(np.tile(2 * wave / np.sqrt(3 * (wave**2).sum()), (3, 1, 1)))
    return torch.from_numpy(np.array(filters)).float()


def _rectify(fc1: nn.Linear, fc2: nn.Linear) -> None:
    """Start an MLP so that half of its hidden units hold gelu(3x) and gelu(-3x): together about 3 |x|.

    Texture is energy, whatever the sign. From a random start, finding that out takes thousands of steps.
    """
    weight = fc1.weight.data
    width = weight.shape[1]
    weight[:width] = 3 * torch.eye(width)
    weight[width : 2 * width] = -3 * torch.eye(width)
    nn.init.normal_(fc2.weight, std=width**-0.5)
    fc2.weight.data[:, width : 2 * width] = fc2.weight.data[:, :width]


class _Teacher(nn.Module):
    """The trunk with two heads that are thrown away: texture per patch, textures present."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.patch_head = nn.Linear(width, NUM_TEXTURES + 1)
        self.image_head = nn.Linear(width, NUM_TEXTURES)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens: Tensor = self.trunk.forward_features(image)  # type: ignore[operator]
        return self.patch_head(tokens[:, 1:]), self.image_head(tokens[:, 0])


def train_backbone(path: Path, steps: int = 800, batch: int = 32, seed: int = 0, samples: int = 24) -> float:
    """Train and save the texture ViT.

    Args:
        path: file to write.
        steps: optimiser steps.
        batch: images per step.
        seed: of textures and weights.
        samples: drawings per texture class that training crops from.

    Returns:
        Share of patches named rightly over the last tenth of the steps (chance is about 0.03; each step draws new
        images).
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    trunk = timm.create_model(BACKBONE_NAME, num_classes=0, **BACKBONE_KWARGS)
    nn.init.zeros_(trunk.pos_embed)
    trunk.pos_embed.requires_grad_(False)
    trunk.patch_embed.proj.weight.data.copy_(_gabor_filters(rng, trunk.embed_dim))
    _rectify(trunk.blocks[0].mlp.fc1, trunk.blocks[0].mlp.fc2)
    teacher = _Teacher(trunk, trunk.embed_dim).train()
    learnable = [p for p in teacher.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.5e-3, total_steps=steps, pct_start=0.1)
    bank = _draw_bank(rng, samples)
    weight = torch.ones(NUM_TEXTURES + 1)
    weight[_BLANK] = 0.1  # half of all patches are blank
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    accuracies: list[float] = []
    start = time.perf_counter()
    for step in range(steps):
        images, targets = zip(*(_draw_image(rng, bank) for _ in range(batch)), strict=True)
        image, target = torch.from_numpy(np.array(images)), torch.from_numpy(np.array(targets)).flatten(1)
        patch_logits, image_logits = teacher((image - mean) / std)
        present = torch.stack([(target == index).any(dim=1) for index in range(NUM_TEXTURES)], dim=1).float()
        loss = F.cross_entropy(patch_logits.flatten(0, 1), target.flatten(), weight)
        loss = loss + F.binary_cross_entropy_with_logits(image_logits, present)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learnable, 1.0)
        optimizer.step()
        schedule.step()
        named = (target >= 0) & (target != _BLANK)
        accuracies.append(float((patch_logits.argmax(-1)[named] == target[named]).float().mean()))
        if step % 100 == 99:
            print(
                f"step {step + 1}/{steps}  loss {loss.item():.3f}  patches named {np.mean(accuracies[-100:]):.3f}  "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
    save_file({name: tensor.detach().half().contiguous() for name, tensor in trunk.state_dict().items()}, path)
    return float(np.mean(accuracies[-max(1, steps // 10) :]))


def main() -> None:
    """Command line of :func:`train_backbone`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--path", type=Path, default=Path(BACKBONE_WEIGHTS), help="file to write")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    accuracy = train_backbone(arguments.path, steps=arguments.steps, seed=arguments.seed)
    megabytes = arguments.path.stat().st_size / 1e6
    print(f"{arguments.path}: {accuracy:.3f} of the textured patches named rightly, {megabytes:.2f} MB")


if __name__ == "__main__":
    main()
