"""FPTConfig: everything that says what a network is. The bundle, the cache, the checkpoint and the registry all carry
this one object.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from monai_fpt.networks.importance import Importance, PrefixPolicy
from monai_fpt.networks.positions import PositionRule
from monai_fpt.networks.side import SideInit

__all__ = ["FPTConfig", "Method"]

Method = Literal["fpt_plus", "fpt"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "method": get_args(Method),
    "importance": get_args(Importance),
    "prefix_tokens": get_args(PrefixPolicy),
    "positions": get_args(PositionRule),
    "side_init": get_args(SideInit),
}


@dataclasses.dataclass(frozen=True)
class FPTConfig:
    """What an FPT+ or FPT network is made of. Defaults are the paper's (arXiv 2408.02426 and 2403.07576).

    Attributes:
        method: ``"fpt_plus"`` or ``"fpt"``.
        backbone: name of a plain ViT in timm, or an ``hf-hub:`` id.
        backbone_weights: ``"timm"`` (the pretrained tag, fetched by timm), a path of a safetensors or torch file, or
            None: random weights from a fixed seed, for tests and benchmarks.
        image_size: side in pixels of the square image the frozen backbone reads; a multiple of its patch size.
        num_classes: number of logits.
        side_size: side in pixels of the image the side network reads; None gives 128 (FPT+) or 224 (FPT), rounded to
            whole patches.
        blocks: tapped blocks; None gives the upper half (FPT+) or all (FPT).
        importance: ``"global"`` or ``"class_token"``.
        token_ratio: share of tokens kept per head.
        num_tokens: fixed number of tokens kept per head, instead of ``token_ratio``; keeps memory constant over
            resolutions.
        prefix_tokens: whether CLS and registers ``"compete"`` for selection (the paper), are always kept (``"keep"``)
            or never (``"drop"``).
        num_prompts: prompts per tapped block.
        side_reduction: width of the backbone over width of the side network.
        dropout: on the fused prompts, in training.
        positions: how learned positions are resized: ``"fpt"`` (the authors') or ``"timm"``.
        norm_eps: LayerNorm epsilon of the backbone and the side network; None takes the backbone's own (the authors:
            1e-12).
        side_init: how weights of the side network start: ``"fixed"``, with a standard deviation of 0.02 (the authors'), or ``"fan_in"``,
            with a gain of one, which a narrow side network needs to learn in few steps (docs/results.md).
        members: how many independent adapters the network has; they learn side by side, each from batches of its own, and answer with the
            mean of their logits, which is steadier; each with a side network costs an adapter (docs/results.md). The paper's is 1.
        linear_members: how many of the members, the last ones, have one prompt a block and a linear layer on its answers in the place of
            a side network, which steadies a network on few images at a third of an adapter's time (docs/results.md). The paper's is 0.
        recompute: in training, make what the backward pass needs again instead of keeping it: less than half the bytes
            beside the features, a fifth more time, the same numbers (docs/benchmarks.md).
        backbone_kwargs: further arguments of ``timm.create_model``.

    Raises:
        ValueError: a value out of range, naming the field.

    Example:
        >>> FPTConfig(num_classes=5).side_pixels(patch_size=16)
        128
    """

    method: Method = "fpt_plus"
    backbone: str = "vit_base_patch16_384.orig_in21k_ft_in1k"
    backbone_weights: str | None = "timm"
    image_size: int = 512
    num_classes: int = 2
    side_size: int | None = None
    blocks: tuple[int, ...] | None = None
    importance: Importance = "global"
    token_ratio: float | None = 0.2
    num_tokens: int | None = None
    prefix_tokens: PrefixPolicy = "compete"
    num_prompts: int = 16
    side_reduction: int = 8
    dropout: float = 0.5
    positions: PositionRule = "fpt"
    norm_eps: float | None = None
    side_init: SideInit = "fixed"
    members: int = 1
    linear_members: int = 0
    recompute: bool = False
    backbone_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(map(repr, choices))}.")
        for name, least in (
            ("image_size", 1),
            ("num_classes", 1),
            ("num_prompts", 1),
            ("side_reduction", 1),
            ("members", 1),
            ("linear_members", 0),
        ):
            _check_int(name, getattr(self, name), least)
        if self.linear_members > self.members:
            raise ValueError(
                f"linear_members={self.linear_members} are some of the members, of which there are {self.members}; give at most that."
            )
        for name in ("side_size", "num_tokens"):
            if getattr(self, name) is not None:
                _check_int(name, getattr(self, name), 1)
        if self.num_tokens is None and not (_is_number(self.token_ratio) and 0 < self.token_ratio <= 1):
            raise ValueError(f"token_ratio={self.token_ratio} must lie above 0 and at most at 1, or give num_tokens.")
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout={self.dropout} must lie at 0 or above and below 1.")
        if not isinstance(self.recompute, bool):
            raise ValueError(f"recompute={self.recompute!r} must be true or false.")
        if self.norm_eps is not None and not (_is_number(self.norm_eps) and self.norm_eps > 0):
            raise ValueError(f"norm_eps={self.norm_eps} must be positive, or None for the backbone's own.")
        if str(self.backbone_weights).lower() in ("none", "null", "random"):  # as command lines write it
            object.__setattr__(self, "backbone_weights", None)
        if self.backbone_weights is not None:
            object.__setattr__(self, "backbone_weights", str(self.backbone_weights))
        if self.blocks is not None:
            if not isinstance(self.blocks, list | tuple) or not all(isinstance(b, int) for b in self.blocks):
                raise ValueError(f"blocks={self.blocks!r} must be whole numbers, as in [6, 7, 8, 9, 10, 11], or None.")
            object.__setattr__(self, "blocks", tuple(self.blocks))

    def side_pixels(self, patch_size: int) -> int:
        """Input size of the side network for a backbone of this patch size.

        Raises:
            ValueError: an explicit ``side_size`` that is no multiple of the patch size.
        """
        if self.side_size is None:
            default = 128 if self.method == "fpt_plus" else 224
            return max(1, round(default / patch_size)) * patch_size
        if self.side_size % patch_size:
            below = max(patch_size, self.side_size // patch_size * patch_size)
            raise ValueError(
                f"side_size={self.side_size} is no multiple of the backbone's patch size of {patch_size}; "
                f"use {below} or {below + patch_size}."
            )
        return self.side_size

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary of all fields."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {
            "blocks": None if self.blocks is None else list(self.blocks),
            "backbone_kwargs": dict(self.backbone_kwargs),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FPTConfig:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError: a field this version does not know.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"FPTConfig has no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}.")
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path) -> FPTConfig:
        """Read a configuration written as JSON (a file of its fields, or a model card that holds them under
        ``"network"``).
        """
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls.from_dict(values.get("network", values))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_int(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
