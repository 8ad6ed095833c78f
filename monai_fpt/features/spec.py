"""FeatureSpec: what a cache was made of and with. Features of one specification are never read under another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT, thumbnail_size

__all__ = ["FeatureDtype", "FeatureSpec", "FeatureSpecMismatchError", "random_features"]

FeatureDtype = Literal["float16", "float32", "int8"]
FORMAT_VERSION = 1


class FeatureSpecMismatchError(ValueError):
    """A cache was made with another specification than the one that wants to read it."""


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """Everything that changes a feature. Two caches with one fingerprint hold the same numbers for the same image.

    Attributes:
        backbone: timm name.
        backbone_fingerprint: sha256 of the backbone's weights.
        image_size: pixels of the square image read by the backbone.
        mean, std: normalisation per channel, on images in [0, 1].
        preprocessing: how a file became an image in [0, 1]: free text, compared literally.
        blocks: tapped blocks.
        importance, prefix_tokens, positions, norm_eps: as in :class:`FPTConfig`, resolved.
        num_tokens: M, tokens kept per head.
        num_all_tokens: N, tokens of the backbone.
        num_heads, head_dim: H and D.
        thumbnail_size: pixels of the square uint8 thumbnail.
        dtype: how features are stored: ``float16``, ``float32`` (exact) or ``int8`` (one scale per channel).
        compute_dtype: precision of the backbone's pass.
        format_version: of the files.
    """

    backbone: str
    backbone_fingerprint: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preprocessing: str
    blocks: tuple[int, ...]
    importance: str
    prefix_tokens: str
    positions: str
    norm_eps: float
    num_tokens: int
    num_all_tokens: int
    num_heads: int
    head_dim: int
    thumbnail_size: int
    dtype: FeatureDtype = "float16"
    compute_dtype: str = "float32"
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32", "int8"):
            raise ValueError(f'dtype={self.dtype!r} is not one of "float16", "float32", "int8".')
        if self.compute_dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f'compute_dtype={self.compute_dtype!r} is not one of "float32", "bfloat16", "float16".')
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean={list(self.mean)} and std={list(self.std)} must be three numbers each, std positive."
            )
        for name in ("mean", "std", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @classmethod
    def from_network(
        cls,
        network: FPTClassifier,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        preprocessing: str = "",
        dtype: FeatureDtype = "float16",
        compute_dtype: str = "float32",
    ) -> FeatureSpec:
        """The specification of the features this network reads; mean and std default to the backbone's own."""
        backbone: FrozenViT = network.backbone
        return cls(
            backbone=backbone.name,
            backbone_fingerprint=backbone.fingerprint,
            image_size=backbone.image_size,
            mean=tuple(float(m) for m in (backbone.mean if mean is None else mean)),
            std=tuple(float(s) for s in (backbone.std if std is None else std)),
            preprocessing=preprocessing,
            blocks=backbone.blocks,
            importance=backbone.importance,
            prefix_tokens=backbone.prefix_tokens,
            positions=backbone.positions,
            norm_eps=backbone.norm_eps,
            num_tokens=backbone.num_tokens,
            num_all_tokens=backbone.num_all_tokens,
            num_heads=backbone.num_heads,
            head_dim=backbone.head_dim,
            thumbnail_size=thumbnail_size(network.side_size),
            dtype=dtype,
            compute_dtype=compute_dtype,
        )

    @property
    def feature_shape(self) -> tuple[int, int, int, int, int]:
        """(L, 2, H, M, D) of one image."""
        return (len(self.blocks), 2, self.num_heads, self.num_tokens, self.head_dim)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the canonical JSON of all fields."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary of all fields."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError: missing or unknown fields, as of another format version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            odd = ", ".join(sorted(set(values) ^ known))
            raise ValueError(
                f"This is no FeatureSpec of format version {FORMAT_VERSION}: {odd} missing or unknown; extract the features anew."
            )
        return cls(**values)

    def require_equal(self, other: FeatureSpec, where: str) -> None:
        """Refuse features made with another specification.

        Args:
            other: the specification found.
            where: what to call the place in the message.

        Raises:
            FeatureSpecMismatchError: names every differing field and both values.
        """
        ours, theirs = self.to_dict(), other.to_dict()
        differing = [
            f"{name} (cache: {_short(theirs[name], ours[name])}, wanted: {_short(ours[name], theirs[name])})"
            for name in ours
            if ours[name] != theirs[name]
        ]
        if differing:
            raise FeatureSpecMismatchError(
                f"The feature cache {where} was made with other settings: {'; '.join(differing)}. "
                f"Use another cache_dir, or the settings of the cache."
            )


def _short(value: Any, other: Any) -> str:
    """Long values from a little before the place where they differ."""
    text = str(value)
    if len(text) <= 48:
        return text
    start = max(0, next((i for i, (a, b) in enumerate(zip(text, str(other), strict=False)) if a != b), len(text)) - 15)
    return f"{'...' if start else ''}{text[start : start + 42]}{'...' if start + 42 < len(text) else ''}"


def random_features(
    config: FPTConfig, batch: int, dtype: torch.dtype = torch.float16, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Random features of the shape a network of this configuration reads, for benchmarks and shape tests; no weights
    are made.

    Returns:
        (batch, L, 2, H, M, D), standard normal.
    """
    with torch.device("meta"):
        shape = FPTClassifier(dataclasses.replace(config, backbone_weights=None)).backbone.feature_shape
    return torch.randn(batch, *shape, device=device).to(dtype)
