"""A frozen timm ViT, tapped at chosen blocks.

Decisions:

- One tap for all families. ``F.scaled_dot_product_attention`` is where every plain ViT of timm meets: there q, k and v
  have had their bias, norm, rotary embedding and relative position mask. A torch-function mode sees the call; no model
  code is copied or patched.
- In tapped blocks the probabilities are computed explicitly, once, in chunks, and serve both the importance and the
  block's output.
- Nothing behind the last tapped keys and values is computed: the forward pass is left there by an exception of our own.
- Frozen means frozen: gradient-free, in eval mode whatever ``train()`` says (MONAI's trainer calls it in every
  iteration), and absent from ``state_dict()``; the adapter names its backbone by fingerprint instead.
- Models whose tokens do not all see each other (windows, convolutions, pyramids) have no global keys and values to
  cache: refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from monai_fpt.networks._tap import Tap, Tapped, announced, unsupported
from monai_fpt.networks._weights import create_trunk, fingerprint
from monai_fpt.networks.importance import (
    Importance,
    PrefixPolicy,
    attend,
    attend_and_weigh,
    gather_tokens,
    num_kept_tokens,
    select_tokens,
    weigh,
)
from monai_fpt.networks.positions import PositionRule, resample_positions

__all__ = ["FrozenViT", "TokenFeatures"]


class TokenFeatures(NamedTuple):
    """What is kept of one batch of images.

    Attributes:
        features: (B, L, 2, H, M, D), keys at index 0 and values at index 1 of the third axis, per tapped block and
            head.
        indices: (B, L, H, M) int64, which tokens these are (prefix tokens first, then patches row by row), by falling
            importance.
    """

    features: Tensor
    indices: Tensor


class FrozenViT(nn.Module):
    """A frozen plain ViT that turns images into the keys and values of their most important tokens.

    Args:
        name: timm model name or ``hf-hub:`` id.
        weights: ``"timm"``, a path, or None for fixed random weights; see
            :func:`monai_fpt.networks._weights.create_trunk`.
        image_size: side of the square input in pixels, a multiple of the patch size.
        blocks: tapped block indices; None gives the upper half.
        importance: ``"global"`` or ``"class_token"``.
        token_ratio: share of the N tokens kept per head (the paper: 0.2); ignored when ``num_tokens`` is given.
        num_tokens: fixed number of tokens kept per head.
        prefix_tokens: what happens to CLS and register tokens: ``"compete"`` (the paper), ``"keep"`` or ``"drop"``.
        positions: rule for learned positions at another size: ``"fpt"`` (the authors') or ``"timm"``.
        norm_eps: overrides the epsilon of every normalisation layer; None keeps the model's own.
        create_kwargs: further arguments of ``timm.create_model``.
        state: weights in memory, instead of ``weights``.

    Raises:
        ValueError: no plain ViT; an input size, block or token number that does not fit; weights of another model.

    Example:
        >>> import torch
        >>> vit = FrozenViT("vit_tiny_patch16_224", weights=None, image_size=64, num_tokens=4, create_kwargs={"depth": 2})
        >>> vit(torch.zeros(1, 3, 64, 64)).features.shape
        torch.Size([1, 1, 2, 3, 4, 64])
    """

    def __init__(
        self,
        name: str,
        weights: str | None = "timm",
        image_size: int = 512,
        blocks: Collection[int] | None = None,
        importance: Importance = "global",
        token_ratio: float | None = 0.2,
        num_tokens: int | None = None,
        prefix_tokens: PrefixPolicy = "compete",
        positions: PositionRule = "fpt",
        norm_eps: float | None = None,
        create_kwargs: Mapping[str, Any] | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        trunk: Any = create_trunk(name, weights, create_kwargs or {}, state)
        _refuse_unsuitable(trunk)
        self.fingerprint = fingerprint(trunk)
        self.name = name
        self.license = str((getattr(trunk, "pretrained_cfg", None) or {}).get("license") or "not stated")
        config = getattr(trunk, "pretrained_cfg", None) or {}
        self.mean: tuple[float, ...] = tuple(config.get("mean") or (0.5, 0.5, 0.5))
        self.std: tuple[float, ...] = tuple(config.get("std") or (0.5, 0.5, 0.5))
        self.patch_size = _patch_size(trunk)
        self.image_size = _checked_image_size(image_size, self.patch_size)
        self.positions: PositionRule = positions
        self._resize(trunk, positions)

        self.embed_dim = int(trunk.embed_dim)
        self.num_heads, self.head_dim = _heads(trunk)
        if self.num_heads * self.head_dim != self.embed_dim:
            raise unsupported(
                f"its {self.num_heads} heads of {self.head_dim} do not make up its width of {self.embed_dim}"
            )
        self.num_prefix_tokens = int(trunk.num_prefix_tokens)
        self.has_class_token = self.num_prefix_tokens > 0 and getattr(trunk, "cls_token", None) is not None
        self.num_all_tokens = self.num_prefix_tokens + (self.image_size // self.patch_size) ** 2
        self.depth = len(trunk.blocks)
        self.blocks = _checked_blocks(blocks, self.depth)
        self.importance: Importance = _checked_importance(importance, trunk, self.has_class_token)
        self.prefix_tokens: PrefixPolicy = prefix_tokens
        candidates = self.num_all_tokens - (self.num_prefix_tokens if prefix_tokens == "drop" else 0)
        ratio_of = self.num_all_tokens if num_tokens is None else candidates
        self.num_tokens = min(num_kept_tokens(ratio_of, token_ratio, num_tokens), candidates)
        if prefix_tokens == "keep" and self.num_tokens < self.num_prefix_tokens:
            raise ValueError(
                f'prefix_tokens="keep" must keep {self.num_prefix_tokens} prefix tokens, but only {self.num_tokens} '
                f"tokens are kept; raise token_ratio or num_tokens."
            )

        norms = [m for m in trunk.modules() if hasattr(m, "eps") and isinstance(getattr(m, "weight", None), Tensor)]
        for norm in norms:
            norm.eps = norm.eps if norm_eps is None else norm_eps
        self.norm_eps = float(norms[0].eps) if norms else 1e-6
        for attention in (m for m in trunk.modules() if hasattr(m, "fused_attn")):
            attention.fused_attn = True  # the tap sees nothing else
        del trunk.blocks[self.blocks[-1] + 1 :]
        self.vit: Any = trunk.requires_grad_(False).eval()
        self.register_state_dict_post_hook(_leave_out_of_state_dict)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_note_own_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_forget_missing)  # type: ignore[no-untyped-call]
        self._own_names: frozenset[str] = frozenset()

    @property
    def feature_shape(self) -> tuple[int, int, int, int, int]:
        """Shape of one image's features: (L, 2, H, M, D)."""
        return (len(self.blocks), 2, self.num_heads, self.num_tokens, self.head_dim)

    def train(self, mode: bool = True) -> FrozenViT:
        """Stay in eval mode: a frozen network has no training mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> TokenFeatures:
        """Keys and values of the most important tokens.

        Args:
            image: (B, 3, image_size, image_size), normalised.

        Raises:
            ValueError: an image of another shape, or a backbone whose attention is not global.
        """
        return self._read(image, to_the_end=False)[0]

    @torch.no_grad()
    def forward_tokens(self, image: Tensor) -> tuple[TokenFeatures, Tensor]:
        """What :meth:`forward` gives, and all tokens of the last layer, from one pass.

        Args:
            image: (B, 3, image_size, image_size), normalised.

        Returns:
            the features, and tokens (B, N, C) after the final norm, prefix tokens first, as timm's ``forward_features``
            gives them.

        Raises:
            ValueError: as :meth:`forward`; or the last block is not tapped, so that the network ends before it.
        """
        features, tokens = self._read(image, to_the_end=True)
        assert tokens is not None
        return features, tokens

    def pool_tokens(self, tokens: Tensor) -> Tensor:
        """All tokens (B, N, C) of the last layer -> (B, 2, C): the CLS token and the mean of the patch tokens; (B, 1, C), the
        mean, where the backbone has no CLS token.
        """
        mean = tokens[:, self.num_prefix_tokens :].mean(dim=1, keepdim=True)
        return torch.cat([tokens[:, :1], mean], dim=1) if self.has_class_token else mean

    def _read(self, image: Tensor, to_the_end: bool) -> tuple[TokenFeatures, Tensor | None]:
        if to_the_end and self.blocks[-1] != self.depth - 1:
            raise ValueError(
                f"Tokens of the last layer are asked for, but block {self.blocks[-1]} is the last that is tapped and kept of "
                f"{self.depth}; tap block {self.depth - 1} too."
            )
        expected = (3, self.image_size, self.image_size)
        if image.ndim != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(
                f"The backbone reads images of shape (B, {', '.join(map(str, expected))}), got {tuple(image.shape)}; resize the image to "
                f"image_size={self.image_size}, or build the model with another image_size."
            )
        features: list[Tensor] = []
        indices: list[Tensor] = []

        def read(block: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
            self._check_global(q, k, image.shape[0])
            last = block == self.blocks[-1]
            output = q
            if last or self.importance == "class_token":
                importance = weigh(q, k, mask, scale, self.importance)
                if to_the_end or not last:
                    output = attend(q, k, v, mask, scale)
            else:
                output, importance = attend_and_weigh(q, k, v, mask, scale)
            kept = select_tokens(importance, self.num_tokens, self.num_prefix_tokens, self.prefix_tokens)
            features.append(torch.stack([gather_tokens(k, kept), gather_tokens(v, kept)], dim=1))
            indices.append(kept)
            if (
                last and not to_the_end and not torch.compiler.is_exporting()
            ):  # an exporter loses track and drops the rest itself
                raise Tapped
            return output

        with announced(self.vit, Tap(self.blocks, read)) as tap, tap:
            tokens: Tensor | None = None
            with suppress(Tapped):
                tokens = self.vit.forward_features(image)
        if len(features) < len(self.blocks):
            raise unsupported(f"no attention was seen in block {self.blocks[len(features)]}")
        return TokenFeatures(torch.stack(features, dim=1), torch.stack(indices, dim=1)), tokens

    def _check_global(self, q: Tensor, k: Tensor, batch: int) -> None:
        expected = (batch, self.num_heads, self.num_all_tokens, self.head_dim)
        if tuple(q.shape) != expected or tuple(k.shape) != expected:
            raise unsupported(
                f"queries and keys of shape {tuple(q.shape)} and {tuple(k.shape)} are not the {expected} of global attention"
            )

    def _resize(self, trunk: Any, rule: PositionRule) -> None:
        patch_embed: Any = getattr(trunk, "patch_embed", None)
        if patch_embed is None:
            return  # NaFlexViT resamples its positions for every input by itself
        old_grid = tuple(patch_embed.grid_size or ())
        new_grid = (self.image_size // self.patch_size,) * 2
        positions = getattr(trunk, "pos_embed", None)
        native = positions.detach().clone() if isinstance(positions, Tensor) and positions.ndim == 3 else None
        if old_grid != new_grid:
            if not hasattr(trunk, "set_input_size"):
                raise unsupported(f"timm's {type(trunk).__name__} cannot change its input size")
            trunk.set_input_size(img_size=(self.image_size, self.image_size))
        if rule == "fpt" and native is not None and len(old_grid) == 2:
            trunk.pos_embed = nn.Parameter(resample_positions(native, old_grid, new_grid))

    def extra_repr(self) -> str:
        return (
            f"{self.name!r}, image_size={self.image_size}, blocks={self.blocks}, num_tokens={self.num_tokens} of {self.num_all_tokens}, "
            f"fingerprint={self.fingerprint[:12]}"
        )


def _note_own_names(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, FrozenViT)
    module._own_names = frozenset(f"{prefix}vit.{name}" for name in module.vit.state_dict())


def _forget_missing(module: nn.Module, incompatible: Any) -> None:
    assert isinstance(module, FrozenViT)
    incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if key not in module._own_names]


def _leave_out_of_state_dict(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]


def _refuse_unsuitable(trunk: Any) -> None:
    kind = type(trunk).__name__
    blocks = getattr(trunk, "blocks", None)
    if any(
        getattr(m, "window_size", None) not in (None, 0, (0, 0))
        for m in trunk.modules()
        if hasattr(m, "qkv") or hasattr(m, "attn")
    ):
        relative = all(hasattr(block, "attn") for block in blocks or [None])
        if not (relative and hasattr(trunk, "num_prefix_tokens") and hasattr(trunk, "pos_embed") and kind == "Beit"):
            raise unsupported(f"{kind} attends within windows, so no token sees the whole image")
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not hasattr(trunk, "num_prefix_tokens"):
        raise unsupported(
            f"{kind} is convolutional, hierarchical or otherwise without one sequence of blocks over all tokens"
        )
    embed = getattr(trunk, "patch_embed", None)
    if hasattr(embed, "backbone") or (embed is not None and not hasattr(embed, "grid_size")):
        raise unsupported(f"{kind} puts a convolutional network before its patches")
    if not all(hasattr(block, "attn") for block in blocks):
        raise unsupported(f"{kind} has blocks without one self-attention")
    if "Diff" in type(blocks[0].attn).__name__:
        raise unsupported(f"{kind} subtracts two attention maps, so a block has no single set of keys")


def _patch_size(trunk: Any) -> int:
    embed = getattr(trunk, "patch_embed", getattr(trunk, "embeds", None))
    size = getattr(embed, "patch_size", None)
    sides = {int(s) for s in (size if isinstance(size, tuple | list) else (size,)) if s is not None}
    if len(sides) != 1:
        raise unsupported(f"its patches of {size} pixels are not square")
    return sides.pop()


def _checked_image_size(image_size: int, patch_size: int) -> int:
    if image_size < patch_size or image_size % patch_size:
        below = max(patch_size, image_size // patch_size * patch_size)
        raise ValueError(
            f"image_size={image_size} is no multiple of the backbone's patch size of {patch_size}; "
            f"use {below} or {below + patch_size}."
        )
    return image_size


def _heads(trunk: Any) -> tuple[int, int]:
    attention: Any = trunk.blocks[0].attn
    heads = int(attention.num_heads)
    dim = getattr(attention, "head_dim", None) or int(trunk.embed_dim) // heads
    return heads, int(dim)


def _checked_blocks(blocks: Collection[int] | None, depth: int) -> tuple[int, ...]:
    chosen = tuple(range(depth // 2, depth)) if blocks is None else tuple(sorted(set(blocks)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
        raise ValueError(
            f"blocks={list(chosen)} do not fit a backbone of {depth} blocks; give indices from 0 to {depth - 1}."
        )
    return chosen


def _checked_importance(importance: Importance, trunk: Any, has_class_token: bool) -> Importance:
    if importance == "class_token" and not has_class_token:
        raise ValueError(
            f'importance="class_token" needs a CLS token and {type(trunk).__name__} has none; use importance="global".'
        )
    return importance
