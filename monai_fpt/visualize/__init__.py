"""Where the model looked: maps of the fusion attention over the located tokens of the full-resolution image, pictures of
them, and how faithful they are. Knows ``networks`` only.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.visualize.attention import FPTAttention, attention_maps, image_attention_maps
from monai_fpt.visualize.faithfulness import (
    curve_area,
    deletion_curve,
    heat_inside,
    insertion_curve,
    pointing_game,
)
from monai_fpt.visualize.grid import resize_heat, token_box
from monai_fpt.visualize.picture import FPTPatch, colour_heat, overlay, top_patches
from monai_fpt.visualize.relevance import (
    Relevance,
    attention_alone,
    gradient_attention,
    integrated_gradient_attention,
)

__all__ = [
    "FPTAttention",
    "FPTPatch",
    "Relevance",
    "attention_alone",
    "attention_maps",
    "colour_heat",
    "curve_area",
    "deletion_curve",
    "gradient_attention",
    "heat_inside",
    "image_attention_maps",
    "insertion_curve",
    "integrated_gradient_attention",
    "overlay",
    "pointing_game",
    "resize_heat",
    "token_box",
    "top_patches",
]
