"""The lightweight side ViT that learns, on a small image, with fused prompts at its side (SPEC section 4).

It is a plain pre-norm ViT whose block l reads P prompts of tapped block l behind its own tokens. The published program
computes more than is ever read: prompt rows as queries and through the MLP, although they are dropped after the block,
and all patch rows of the last block, although only CLS goes to the head. Here prompts are keys and values only, and the
last block computes one row; the result is the same.

Where memory is short, what a block needs in the backward pass can be made again from its input (``recompute``): a fifth
more time for a fraction of the bytes, with the same numbers.

Before the last block the patch tokens pass through ``spatial`` as a map (B, S, h, w), which changes nothing and is what
class activation maps hook onto: ``monai.visualize.GradCAM(model, "side.spatial")``.

The published weights start with a standard deviation of 0.02 whatever the width. In a narrow network (a small backbone's eighth is 24
wide) a layer then passes on a tenth of its input, gradients vanish in the product of such layers, and hundreds of steps go by before
anything is learned. ``init="fan_in"`` starts each layer with a gain of one (docs/results.md).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_fpt.networks._small_attention import narrow_attention
from monai_fpt.networks.positions import resample_positions

__all__ = ["SideBlock", "SideInit", "SideViT", "SpatialTokens"]

SideInit = Literal["fixed", "fan_in"]
_STD = 0.02


class _Attention(nn.Module):
    """Self-attention whose prompts are keys and values but never queries."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, prompts: Tensor, num_rows: int) -> Tensor:
        """(B, N, S) tokens and (B, P, S) prompts -> the first ``num_rows`` rows, (B, num_rows, S)."""
        weight, bias, dim = self.qkv.weight, self.qkv.bias, tokens.shape[-1]
        q = F.linear(tokens[:, :num_rows], weight[:dim], bias[:dim])
        k, v = F.linear(torch.cat([tokens, prompts], dim=1), weight[dim:], bias[dim:]).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))  # type: ignore[no-untyped-call]
        attended = narrow_attention(q, k, v)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class SideBlock(nn.Module):
    """One pre-norm transformer block; parameter names are timm's.

    Args:
        dim: S, width.
        num_heads: heads of S / num_heads each.
        norm_eps: LayerNorm epsilon.
    """

    def __init__(self, dim: int, num_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = _Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim)))

    def forward(self, tokens: Tensor, prompts: Tensor, num_rows: int) -> Tensor:
        """The first ``num_rows`` output rows of (B, N, S) tokens that attend to themselves and to (B, P, S) prompts."""
        rows: Tensor = tokens[:, :num_rows]
        rows = rows + self.attn(self.norm1(tokens), self.norm1(prompts), num_rows)
        updated: Tensor = rows + self.mlp(self.norm2(rows))
        return updated


def _run(block: nn.Module, tokens: Tensor, prompts: Tensor, num_rows: int) -> Tensor:
    updated: Tensor = block(tokens, prompts, num_rows)
    return updated


def _run_recomputed(block: nn.Module, tokens: Tensor, prompts: Tensor, num_rows: int) -> Tensor:
    """The same; autograd keeps the inputs only."""
    if not torch.is_grad_enabled():
        return _run(block, tokens, prompts, num_rows)
    updated: Tensor = checkpoint(block, tokens, prompts, num_rows, use_reentrant=False, preserve_rng_state=False)
    return updated


class SpatialTokens(nn.Module):
    """Patch tokens as the map they are, so that a forward hook sees one."""

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, h * w, S) -> (B, S, h, w), a view."""
        return patches.transpose(1, 2).unflatten(2, grid)  # type: ignore[no-untyped-call, no-any-return]


class SideViT(nn.Module):
    """The side network: small image and prompts in, logits out.

    Args:
        image_size: native input size in pixels; learned positions belong to it.
        patch_size: of the backbone.
        dim: S.
        num_blocks: L, one per tapped block of the backbone.
        num_heads: as the backbone.
        num_classes: K.
        norm_eps: LayerNorm epsilon, the backbone's.
        recompute: keep only the inputs of blocks for the backward pass.
        init: standard deviation of the first weights of patch embedding and blocks: ``"fixed"``, 0.02 (the paper), or ``"fan_in"``, one
            over the square root of a layer's inputs.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        dim: int,
        num_blocks: int,
        num_heads: int,
        num_classes: int,
        norm_eps: float,
        recompute: bool = False,
        init: SideInit = "fixed",
    ) -> None:
        super().__init__()
        self.run = _run_recomputed if recompute else _run
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch_size, patch_size)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], dim))
        self.blocks = nn.ModuleList(SideBlock(dim, num_heads, norm_eps) for _ in range(num_blocks))
        self.spatial = SpatialTokens()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=_STD)
        nn.init.trunc_normal_(self.pos_embed, std=_STD)
        self.apply(_initialise)
        if init == "fan_in":
            self.patch_embed.apply(_give_unit_gain)
            self.blocks.apply(_give_unit_gain)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Image (B, 3, h, w), normalised, and fused prompts (B, L, P, S) -> logits (B, K)."""
        tokens = self.embed(image)
        *early, last = self.blocks
        for index, block in enumerate(early):
            tokens = self.run(block, tokens, prompts[:, index], tokens.shape[1])
        tokens = self.run(last, self.expose(tokens, image), prompts[:, -1], 1)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def expose(self, tokens: Tensor, image: Tensor) -> Tensor:
        """The same tokens (B, 1 + N, S), their patches by way of a map (B, S, h, w)."""
        patch = self.patch_embed["proj"].kernel_size[0]  # type: ignore[index]
        grid = (image.shape[-2] // patch, image.shape[-1] // patch)
        patches = self.spatial(tokens[:, 1:], grid).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], patches], dim=1)

    def embed(self, image: Tensor) -> Tensor:
        """Patches, CLS and positions: (B, 3, h, w) -> (B, 1 + N, S)."""
        patches = self.patch_embed["proj"](image)  # (B, S, h', w')
        positions = resample_positions(self.pos_embed, self.grid, (patches.shape[-2], patches.shape[-1]))
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return tokens + positions


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def _give_unit_gain(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        module.weight.mul_(module.weight[0].numel() ** -0.5 / _STD)
