"""Fine-grained prompts attend to the cached keys and values of their own block (SPEC section 3; the papers'
fine-grained fusion module).

Decisions:

- Keys and values are read where they lie, (B, L, 2, H, M, D), in the precision they are stored in; nothing is transposed
  or copied, and autograd keeps nothing of their size. ``_attend.py`` tells how.
- FPT+ and FPT differ in where prompts live and where they are added; that is two short classes, not a flag.
- A member without a side network (``FPTConfig.linear_members``) has a third: one prompt a block, whose answers are given on whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_fpt.networks._attend import attend_to_stored

__all__ = ["CachedFeatures", "FPTFusion", "FPTPlusFusion", "Fusion", "PooledFusion", "QuantizedFeatures"]


class QuantizedFeatures(NamedTuple):
    """int8 features with one scale per channel.

    Attributes:
        codes: (B, L, 2, H, M, D) int8.
        scales: (B, L, 2, H, D) float32; value = code * scale.
    """

    codes: Tensor
    scales: Tensor


CachedFeatures = Tensor | QuantizedFeatures


class Fusion(nn.Module):
    """What every fusion module does: ask, attend, fuse.

    Args:
        num_heads: H of the backbone.
        recompute: make the attention's probabilities again in the backward pass instead of keeping them.
        num_rows: fused prompts of a block.
    """

    prompts: nn.Parameter

    def __init__(self, num_heads: int, recompute: bool, num_rows: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_rows = num_rows
        self.recompute = recompute

    def forward(self, features: CachedFeatures) -> Tensor:
        """Features (B, L, 2, H, M, D) -> fused prompts (B, L, P, S)."""
        return self.fuse(self.attend(self.queries(), features))

    def queries(self) -> Tensor:
        """What prompts ask with: (L, P, C)."""
        raise NotImplementedError

    def fuse(self, attended: Tensor) -> Tensor:
        """What prompts were answered, (B, L, P, C), -> fused prompts (B, L, P, S)."""
        raise NotImplementedError

    def attend(self, queries: Tensor, features: CachedFeatures) -> Tensor:
        """Queries (L, P, C) on features of B images -> (B, L, P, C)."""
        stored, scales = (
            (features.codes, features.scales) if isinstance(features, QuantizedFeatures) else (features, None)
        )
        q = queries.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        attended = attend_to_stored(q, stored, scales, self.recompute)
        return attended.transpose(2, 3).flatten(-2)  # (B, L, H, P, D) -> (B, L, P, C)


class FPTPlusFusion(Fusion):
    """FPT+: prompts of the backbone's width ask directly, after a LayerNorm; they are added before the projection.

    Args:
        num_blocks: L, tapped blocks.
        num_prompts: P, prompts per block.
        embed_dim: C, width of the backbone.
        side_dim: S, width of the side network.
        num_heads: H of the backbone.
        dropout: probability of dropping an element of the fused prompts.
        recompute: make the attention's probabilities again in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        num_blocks: int,
        num_prompts: int,
        embed_dim: int,
        side_dim: int,
        num_heads: int,
        dropout: float,
        recompute: bool = False,
    ) -> None:
        super().__init__(num_heads, recompute, num_prompts)
        self.prompts = _prompts(num_blocks, num_prompts, embed_dim)
        self.project = nn.Linear(embed_dim, side_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-5)
        self.dropout = nn.Dropout(dropout)

    def queries(self) -> Tensor:
        """Normalised prompts, (L, P, C)."""
        queries: Tensor = self.norm(self.prompts)
        return queries

    def fuse(self, attended: Tensor) -> Tensor:
        """(B, L, P, C) -> (B, L, P, S)."""
        fused: Tensor = self.dropout(self.project(attended + self.prompts))
        return fused


class FPTFusion(Fusion):
    """FPT: prompts of the side network's width ask through a projection; they are added after the output projection.

    Arguments as of :class:`FPTPlusFusion`.
    """

    def __init__(
        self,
        num_blocks: int,
        num_prompts: int,
        embed_dim: int,
        side_dim: int,
        num_heads: int,
        dropout: float,
        recompute: bool = False,
    ) -> None:
        super().__init__(num_heads, recompute, num_prompts)
        self.prompts = _prompts(num_blocks, num_prompts, side_dim)
        self.project = nn.Linear(embed_dim, side_dim)
        self.query = nn.Linear(side_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def queries(self) -> Tensor:
        """Projected prompts, (L, P, C)."""
        queries: Tensor = self.query(self.prompts)
        return queries

    def fuse(self, attended: Tensor) -> Tensor:
        """(B, L, P, C) -> (B, L, P, S)."""
        fused: Tensor = self.dropout(self.project(attended) + self.prompts)
        return fused


class PooledFusion(Fusion):
    """One prompt a block asks as in FPT+, and its answers, normalised, are given on in rows of the side network's width: nothing is lost
    in a projection, and nothing but the prompt learns. For :class:`~monai_fpt.networks.LinearSide`.

    Arguments as of :class:`FPTPlusFusion`, without ``num_prompts``.
    """

    def __init__(
        self,
        num_blocks: int,
        embed_dim: int,
        side_dim: int,
        num_heads: int,
        dropout: float,
        recompute: bool = False,
    ) -> None:
        super().__init__(num_heads, recompute, -(-embed_dim // side_dim))
        self.prompts = _prompts(num_blocks, 1, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-5)
        self.dropout = nn.Dropout(dropout)
        self.missing = self.num_rows * side_dim - embed_dim

    def queries(self) -> Tensor:
        """Normalised prompts, (L, 1, C)."""
        queries: Tensor = self.norm(self.prompts)
        return queries

    def fuse(self, attended: Tensor) -> Tensor:
        """(B, L, 1, C) -> (B, L, R, S), R x S being C or, filled up with zeros, a little more."""
        answers = F.layer_norm(attended[:, :, 0], attended.shape[-1:])
        rows = F.pad(answers, (0, self.missing)).unflatten(-1, (self.num_rows, -1))  # type: ignore[no-untyped-call]
        fused: Tensor = self.dropout(rows)
        return fused


def _prompts(num_blocks: int, num_prompts: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(num_blocks, num_prompts, width) * 1e-6)
