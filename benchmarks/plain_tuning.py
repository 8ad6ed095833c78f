"""Fine-tuning as one would do it today, for comparison of memory: the whole ViT, or LoRA on its qkv layers, both with fused
attention, bfloat16 autocast and a checkpoint per block.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

__all__ = ["LoraLinear", "autocast_loss", "full_tuning", "lora_tuning"]


class LoraLinear(nn.Module):
    """A frozen linear layer and a learned product of rank r beside it.

    Args:
        frozen: the layer.
        rank: r.
    """

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Linear(frozen.in_features, rank, bias=False)
        self.up = nn.Linear(rank, frozen.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.frozen(x) + self.up(self.down(x))
        return output


def full_tuning(name: str, image_size: int, num_classes: int, depth: int | None = None) -> Any:
    """A timm ViT of which everything learns."""
    depth_of = {} if depth is None else {"depth": depth}
    vit = timm.create_model(name, pretrained=False, num_classes=num_classes, img_size=image_size, **depth_of)
    vit.set_grad_checkpointing()
    return vit.train()


def lora_tuning(name: str, image_size: int, num_classes: int, rank: int = 8, depth: int | None = None) -> Any:
    """The same of which the head and a LoRA on every qkv layer learn."""
    vit = full_tuning(name, image_size, num_classes, depth).requires_grad_(False)
    vit.head.requires_grad_(True)
    for block in vit.blocks:
        block.attn.qkv = LoraLinear(block.attn.qkv, rank)
    return vit


def autocast_loss(model: nn.Module, image: Tensor, labels: Tensor) -> Tensor:
    """Loss in bfloat16 autocast."""
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        logits = model(image)
    return torch.nn.functional.cross_entropy(logits.float(), labels)
