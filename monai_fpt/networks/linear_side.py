"""A member without a side network: one linear layer reads what one prompt a block was answered.

A side network of many layers learns little in a few hundred steps on a hundred images, and another thing with every seed. What the prompts
are answered at first is the mean of the values of the important tokens of a block; a linear layer on it, which starts at zero, learns from
the first step on and much the same with every seed. Beside side networks (``FPTConfig.linear_members``) it steadies their mean
(docs/results.md).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LinearSide"]


class LinearSide(nn.Module):
    """Rows of :class:`~monai_fpt.networks.PooledFusion` in, logits out, in the place of a :class:`SideViT`; the image is not looked at.

    Args:
        dim: S, width of a row.
        num_rows: R, rows of a block.
        num_blocks: L, tapped blocks of the backbone.
        num_classes: K.
    """

    def __init__(self, dim: int, num_rows: int, num_blocks: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(num_blocks * num_rows * dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Rows (B, L, R, S) -> logits (B, K)."""
        logits: Tensor = self.head(prompts.flatten(1))
        return logits
