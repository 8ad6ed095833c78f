"""A member without a side network: one linear layer reads what its prompts were answered.

A side network of many layers learns little in a few hundred steps on a hundred images, and another thing with every seed. The mean answer
of the prompts to each block is, at first, the mean of the values of the important tokens, and a linear layer on it learns in the first
steps and much the same every time. Beside side networks (``FPTConfig.linear_members``) it steadies their mean (docs/results.md).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LinearSide"]

_STD = 0.02


class LinearSide(nn.Module):
    """Fused prompts in, logits out, in the place of a :class:`SideViT`; the image is not looked at.

    Args:
        dim: S, width of fused prompts.
        num_blocks: L, tapped blocks of the backbone.
        num_classes: K.
        norm_eps: LayerNorm epsilon, the backbone's.
    """

    def __init__(self, dim: int, num_blocks: int, num_classes: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = nn.Linear(num_blocks * dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Fused prompts (B, L, P, S) -> logits (B, K)."""
        logits: Tensor = self.head(self.norm(prompts.mean(dim=2)).flatten(1))
        return logits
