"""The yardstick: FPT+ and FPT written as plainly as SPEC of the papers reads, without looking at anybody's program.

Nothing here is slow on purpose and nothing is clever: eager attention with its probabilities in memory, every block and
every row computed, keys and values collated image by image and put into the papers' (L, B, H, M, D), everything float32.
Parameter names are those of :class:`monai_fpt.networks.FPTClassifier`, so that both can be given the same numbers and
must agree on logits and gradients.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_fpt.networks import FPTClassifier, FPTConfig

__all__ = ["PlainEncoder", "PlainFPT", "plain_encoder", "plain_fpt"]


def heads_of(x: Tensor, num_heads: int) -> Tensor:
    """(..., N, C) -> (..., H, N, D)."""
    return x.reshape(*x.shape[:-1], num_heads, -1).transpose(-3, -2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Eager attention: output and probabilities."""
    probabilities = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return probabilities @ v, probabilities


class PlainEncoder(nn.Module):
    """The frozen ViT: all its blocks, with eager attention, and the selection in every tapped block.

    Args:
        vit: a timm ViT of the wanted input size, whose layers are used as they are.
        blocks: tapped blocks.
        num_tokens: M, kept per head.
    """

    def __init__(self, vit: Any, blocks: tuple[int, ...], num_tokens: int) -> None:
        super().__init__()
        self.vit, self.blocks, self.num_tokens = vit, blocks, num_tokens

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, 3, s, s) -> keys and values (L, B, H, M, D) each, indices (L, B, H, M)."""
        x = self.vit._pos_embed(self.vit.patch_embed(image))
        keys, values, indices = [], [], []
        for index, block in enumerate(self.vit.blocks):
            normed, attn = block.norm1(x), block.attn
            q, k, v = (heads_of(part, attn.num_heads) for part in attn.qkv(normed).chunk(3, dim=-1))
            output, probabilities = attention(q, k, v)
            if index in self.blocks:
                kept = probabilities.mean(dim=2).topk(self.num_tokens, dim=-1).indices
                expanded = kept.unsqueeze(-1).expand(-1, -1, -1, k.shape[-1])
                keys.append(k.gather(2, expanded))
                values.append(v.gather(2, expanded))
                indices.append(kept)
            x = x + attn.proj(output.transpose(1, 2).reshape(x.shape))
            x = x + block.mlp(block.norm2(x))
        return torch.stack(keys), torch.stack(values), torch.stack(indices)


def plain_encoder(model: FPTClassifier) -> PlainEncoder:
    """The plain encoder with the weights of ours, and all the blocks that ours leaves out (with random weights: their
    numbers are not read).
    """
    import timm

    frozen = model.backbone
    own = frozen.vit
    vit = timm.create_model(
        frozen.name.partition(".")[0],
        pretrained=False,
        num_classes=0,
        img_size=frozen.image_size,
        **model.config.backbone_kwargs,
    )
    for norm in (m for m in vit.modules() if isinstance(m, nn.LayerNorm)):
        norm.eps = frozen.norm_eps
    vit.load_state_dict(own.state_dict(), strict=False)
    return PlainEncoder(vit.eval().requires_grad_(False), frozen.blocks, frozen.num_tokens)


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = attention(*(heads_of(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1)))
        return self.proj(output.transpose(1, 2).reshape(x.shape))


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=norm_eps), nn.LayerNorm(dim, eps=norm_eps)
        self.attn = _Attention(dim, num_heads)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Fusion(nn.Module):
    """Fine-grained prompts ask the keys and values of their block; ``plus`` is the paper's second form."""

    def __init__(
        self, plus: bool, blocks: int, prompts: int, dim: int, side: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.plus, self.num_heads = plus, num_heads
        self.prompts = nn.Parameter(torch.randn(blocks, prompts, dim if plus else side) * 1e-6)
        if plus:
            self.norm = nn.LayerNorm(dim, eps=1e-5)
        else:
            self.query = nn.Linear(side, dim)
        self.project = nn.Linear(dim, side)
        self.dropout = nn.Dropout(dropout)

    def forward(self, keys: Tensor, values: Tensor) -> Tensor:
        """Keys and values (L, B, H, M, D) -> fused prompts (L, B, P, S)."""
        queries = self.norm(self.prompts) if self.plus else self.query(self.prompts)
        queries = heads_of(queries.unsqueeze(1).expand(-1, keys.shape[1], -1, -1), self.num_heads)
        attended, _ = attention(queries, keys, values)  # (L, B, H, P, D)
        attended = attended.transpose(2, 3).flatten(3)
        prompts = self.prompts.unsqueeze(1)
        fused = self.project(attended + prompts) if self.plus else self.project(attended) + prompts
        return self.dropout(fused)


class _Side(nn.Module):
    def __init__(
        self, size: int, patch: int, dim: int, blocks: int, num_heads: int, classes: int, norm_eps: float
    ) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, dim))
        self.blocks = nn.ModuleList(_Block(dim, num_heads, norm_eps) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = nn.Linear(dim, classes)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        x = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        num = x.shape[1]
        for block, prompt in zip(self.blocks, prompts, strict=True):
            x = block(torch.cat([x, prompt], dim=1))[:, :num]
        return self.head(self.norm(x)[:, 0])


class PlainFPT(nn.Module):
    """What learns, plainly.

    Args:
        model: ours, whose sizes and weights are taken over.
    """

    def __init__(self, model: FPTClassifier) -> None:
        super().__init__()
        config, frozen = model.config, model.backbone
        width, blocks, heads = frozen.embed_dim, len(frozen.blocks), frozen.num_heads
        side = width // config.side_reduction
        plus = config.method == "fpt_plus"
        self.fusion = _Fusion(plus, blocks, config.num_prompts, width, side, heads, config.dropout)
        self.side = _Side(model.side_size, frozen.patch_size, side, blocks, heads, config.num_classes, frozen.norm_eps)
        state = {name: value for name, value in model.state_dict().items() if name != "backbone_id"}
        self.load_state_dict(state)

    def forward(self, image: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Side image (B, 3, t, t), keys and values as collated, (B, L, H, M, D) each -> logits (B, K)."""
        fused = self.fusion(keys.transpose(0, 1).contiguous(), values.transpose(0, 1).contiguous())
        return self.side(image, fused)


def plain_fpt(config: FPTConfig) -> tuple[FPTClassifier, PlainFPT]:
    """Our network and the plain one with the same learnable weights."""
    model = FPTClassifier(config)
    return model, PlainFPT(model)
