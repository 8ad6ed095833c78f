"""A trainable copy of the frozen backbone with a linear head: what every tuning arm starts from.

Decisions:

- The copy is made as the frozen backbone itself is made (:class:`~monai_fpt.networks.FrozenViT`: strict loading, rule for positions, norm
  epsilon, fused attention), but tapped at its last block, so that no block is cut off. Its fingerprint must be the backbone's: the arms of
  a table never start from different weights.
- The frozen backbone is not touched; it may be in use by another arm.
- Pooling is timm's own for these weights (CLS token, mean or attention pooling), and so is the norm before it. The head is one linear
  layer that starts at zero, as the ViT's authors fine-tune (Dosovitskiy et al. 2021, section 3.2).
- The trunk computes in bfloat16 where asked for, the head always in float32: logits in bfloat16 have so few digits that images tie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.networks import FrozenViT

__all__ = ["FPTTunedViT", "fresh_trunk"]


class FPTTunedViT(nn.Module):
    """A trunk, of which some or all learns, and a linear head that learns.

    Args:
        trunk: images to pooled features (B, C).
        num_features: C.
        num_classes: K.
        bf16: compute the trunk in bfloat16 autocast.
    """

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int, bf16: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(num_features, num_classes)
        self.bf16 = bf16
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) to float32 logits (B, K)."""
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            pooled = self.trunk(image)
        logits: Tensor = self.head(pooled.float())
        return logits


def fresh_trunk(arm_data: FPTArmData, image_size: int, drop_path: float = 0.0, checkpointing: bool = False) -> Any:
    """The whole timm model without head, with the frozen backbone's weights; nothing of it learns yet.

    Args:
        arm_data: names the backbone.
        image_size: side in pixels of the square image it will read.
        drop_path: rate of stochastic depth of the last block, rising from 0 at the first.
        checkpointing: compute blocks again in the backward pass instead of keeping what they made.

    Raises:
        ValueError: the weights named are not those of the frozen backbone, the model has no pooling, or an argument that does not fit it.
    """
    config, frozen = arm_data.network_config, arm_data.backbone
    copy = FrozenViT(
        config.backbone,
        config.backbone_weights,
        image_size=image_size,
        blocks=[frozen.depth - 1],
        num_tokens=1,
        positions=config.positions,
        norm_eps=config.norm_eps,
        create_kwargs=dict(config.backbone_kwargs) | ({"drop_path_rate": drop_path} if drop_path else {}),
    )
    if copy.fingerprint != frozen.fingerprint:
        raise ValueError(
            f'compare: backbone_weights={config.backbone_weights!r} of "{config.backbone}" are not the weights of the frozen backbone '
            f"({copy.fingerprint[:12]} against {frozen.fingerprint[:12]}); give the file that the frozen backbone was made of."
        )
    trunk: Any = copy.vit
    if getattr(trunk, "global_pool", "token") == "":
        raise ValueError(
            f'compare: timm\'s "{config.backbone}" gives tokens and has no pooling of its own, so there is nothing for a head to read; '
            f'give backbone_kwargs={{"global_pool": "avg"}} or another backbone.'
        )
    trunk.set_grad_checkpointing(checkpointing)
    return trunk
