"""FeatureSpec: what a cache was made of and with. Features of one specification are never read under another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT, thumbnail_size

__all__ = ["FeatureDtype", "FeatureSpec", "FeatureSpecMismatchError", "StoredTokens", "random_features"]

FeatureDtype = Literal["float16", "float32", "int8"]
StoredTokens = Literal["none", "pooled", "all"]  # each holds what those before it hold
_FORMAT_VERSIONS: dict[str, int] = {"float16": 1, "float32": 1, "int8": 2}  # 2: scales in bfloat16
_LATER_FIELDS = {"tokens": "none", "token_rows": 0}  # not written at these values, so that older fingerprints stay


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
        tokens: which tokens of the last layer are kept beside, for probes and comparisons; FPT does not read them.
            ``"none"``; ``"pooled"``: the CLS token and the mean of the patch tokens (the mean alone where there is no CLS
            token); ``"all"``: every token, prefix tokens first. A cache that holds more serves whoever asks for less.
        token_rows: how many rows that makes: 0, 1 or 2, or N.
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
    format_version: int = 1
    tokens: StoredTokens = "none"
    token_rows: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32", "int8"):
            raise ValueError(f'dtype={self.dtype!r} is not one of "float16", "float32", "int8".')
        if self.compute_dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f'compute_dtype={self.compute_dtype!r} is not one of "float32", "bfloat16", "float16".')
        if self.tokens not in get_args(StoredTokens):
            raise ValueError(f"tokens={self.tokens!r} is not one of {', '.join(map(repr, get_args(StoredTokens)))}.")
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
        tokens: StoredTokens = "none",
    ) -> FeatureSpec:
        """The specification of the features this network reads; mean and std default to the backbone's own.

        Raises:
            ValueError: an unknown choice, or tokens of the last layer where the last block is not tapped.
        """
        backbone: FrozenViT = network.backbone
        if tokens != "none" and backbone.blocks[-1] != backbone.depth - 1:
            raise ValueError(
                f'tokens="{tokens}" needs the last layer, but the network ends at block {backbone.blocks[-1]} of {backbone.depth}; tap '
                f'block {backbone.depth - 1} too, or set tokens="none".'
            )
        rows = {"none": 0, "pooled": 1 + backbone.has_class_token, "all": backbone.num_all_tokens}
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
            format_version=_FORMAT_VERSIONS.get(dtype, 1),
            tokens=tokens,
            token_rows=rows.get(tokens, 0),
        )

    @property
    def feature_shape(self) -> tuple[int, int, int, int, int]:
        """(L, 2, H, M, D) of one image."""
        return (len(self.blocks), 2, self.num_heads, self.num_tokens, self.head_dim)

    @property
    def token_shape(self) -> tuple[int, int]:
        """(rows, C) of one image's tokens of the last layer."""
        return (self.token_rows, self.num_heads * self.head_dim)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the canonical JSON of all fields."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary of all fields."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        return {k: v for k, v in values.items() if k not in _LATER_FIELDS or v != _LATER_FIELDS[k]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError: missing or unknown fields, as of another format version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        odd = (set(values) | set(_LATER_FIELDS)) ^ known
        if odd:
            raise ValueError(
                f"This is no FeatureSpec of this version: {', '.join(sorted(odd))} missing or unknown; extract the features anew."
            )
        return cls(**values)

    def without_tokens(self) -> FeatureSpec:
        """The same features, without tokens of the last layer: what a model card carries, for the model reads none."""
        return dataclasses.replace(self, tokens="none", token_rows=0)

    def require_equal(self, other: FeatureSpec, where: str) -> None:
        """Refuse features made with another specification; more tokens of the last layer than asked for are no difference.

        Args:
            other: the specification found.
            where: what to call the place in the message.

        Raises:
            FeatureSpecMismatchError: names every differing field and both values.
        """
        order = get_args(StoredTokens)
        if order.index(self.tokens) < order.index(other.tokens):
            other = dataclasses.replace(other, tokens=self.tokens, token_rows=self.token_rows)
        ours, theirs = ({**_LATER_FIELDS, **spec.to_dict()} for spec in (self, other))
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
