"""The numbers of the quickstart, as plain constants to hand to the bundle as overrides.

They are chosen for two slow cores and a few minutes. Patches of 32 pixels leave 257 tokens of a 512-pixel image, so
that reading an image with the backbone costs little more than decoding it; everything else is the paper's recipe,
with a learning rate and a number of epochs for a small data set (AdamW, cosine to zero updated every step). ``MEAN``
and ``STD`` are what the backbone was trained with, not those of the pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = [
    "BACKBONE_KWARGS",
    "BACKBONE_NAME",
    "BACKBONE_WEIGHTS",
    "BATCH_SIZE",
    "CLIP_NORM",
    "EPOCHS",
    "LEARNING_RATE",
    "MEAN",
    "NETWORK",
    "STD",
    "WEIGHT_DECAY",
]

BACKBONE_NAME = "vit_small_patch32_224"
BACKBONE_KWARGS: dict[str, Any] = {"embed_dim": 96, "depth": 3, "num_heads": 3}
BACKBONE_WEIGHTS = str(Path(__file__).with_name("texture_vit.safetensors"))
"""Made by :mod:`monai_fpt.quickstart.train_backbone`."""

NETWORK: dict[str, Any] = {
    "method": "fpt_plus",
    "backbone": BACKBONE_NAME,
    "backbone_weights": BACKBONE_WEIGHTS,
    "backbone_kwargs": BACKBONE_KWARGS,
    "image_size": 512,
    "side_size": 128,
    "num_classes": 2,
    "side_reduction": 4,
}
"""Fields of :class:`monai_fpt.networks.FPTConfig`; the side network is 24 wide, with 3 heads of 8."""

MEAN = (0.45, 0.45, 0.45)
STD = (0.1, 0.1, 0.1)

EPOCHS = 12
BATCH_SIZE = 16
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
