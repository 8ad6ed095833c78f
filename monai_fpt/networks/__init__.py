"""What is frozen and what learns: pure tensors in, tensors out. Knows torch and timm only."""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.networks.authors import convert_adapter_state, convert_backbone_state
from monai_fpt.networks.backbone import FrozenViT, TokenFeatures
from monai_fpt.networks.config import FPTConfig
from monai_fpt.networks.fpt import BackboneMismatchError, FPTClassifier, frozen_backbone
from monai_fpt.networks.fusion import CachedFeatures, FPTFusion, FPTPlusFusion, Fusion, PooledFusion, QuantizedFeatures
from monai_fpt.networks.importance import num_kept_tokens
from monai_fpt.networks.linear_side import LinearSide
from monai_fpt.networks.loss import ClassWeights, FPTLoss
from monai_fpt.networks.members import FusionMembers, SideMembers, clip_member_gradients
from monai_fpt.networks.positions import resample_positions
from monai_fpt.networks.resize import resize_image, thumbnail_size
from monai_fpt.networks.side import SideViT

__all__ = [
    "BackboneMismatchError",
    "CachedFeatures",
    "ClassWeights",
    "FPTClassifier",
    "FPTConfig",
    "FPTFusion",
    "FPTLoss",
    "FPTPlusFusion",
    "FrozenViT",
    "Fusion",
    "FusionMembers",
    "LinearSide",
    "PooledFusion",
    "QuantizedFeatures",
    "SideMembers",
    "SideViT",
    "TokenFeatures",
    "clip_member_gradients",
    "convert_adapter_state",
    "convert_backbone_state",
    "frozen_backbone",
    "num_kept_tokens",
    "resample_positions",
    "resize_image",
    "thumbnail_size",
]
