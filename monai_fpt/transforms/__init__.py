"""MONAI transforms that MONAI lacks: a plain square resize, a guarded normalisation, and the side image's
augmentation."""

from __future__ import annotations

from monai_fpt.transforms.array import FPTNormalize, FPTResize, RandFPTSideAugment
from monai_fpt.transforms.describe import fpt_describe
from monai_fpt.transforms.dictionary import (
    FPTNormalizeD,
    FPTNormalized,
    FPTNormalizeDict,
    FPTResizeD,
    FPTResized,
    FPTResizeDict,
    RandFPTSideAugmentD,
    RandFPTSideAugmentd,
    RandFPTSideAugmentDict,
)

__all__ = [
    "FPTNormalize",
    "FPTNormalizeD",
    "FPTNormalizeDict",
    "FPTNormalized",
    "FPTResize",
    "FPTResizeD",
    "FPTResizeDict",
    "FPTResized",
    "RandFPTSideAugment",
    "RandFPTSideAugmentD",
    "RandFPTSideAugmentDict",
    "RandFPTSideAugmentd",
    "fpt_describe",
]
