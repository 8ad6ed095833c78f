"""One image's record as bytes: features, scales, token indices and thumbnail, each at a fixed offset, so that records
have one length.

float16 is the default: the keys and values of ViTs fit its range, and its error is an eighth of bfloat16's; a number
beyond the range is an error, never an infinity. int8 keeps one scale per channel (image, block, head, channel), which
folds exactly into queries and outputs; scales are bfloat16, rounded up, before the codes are made with them, so that they
cost two bytes and no exactness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_fpt.features.spec import FeatureSpec
from monai_fpt.networks import CachedFeatures, QuantizedFeatures

__all__ = ["RecordLayout", "StoredImage", "quantize"]

_TORCH = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8}
_ALIGNMENT = 64


class StoredImage(NamedTuple):
    """What the cache holds of one image.

    Attributes:
        features: (L, 2, H, M, D) in the stored precision, or :class:`QuantizedFeatures` of one image.
        indices: (L, H, M) int64, the tokens kept.
        thumbnail: (3, T, T) uint8, the un-normalised image as the backbone saw it.
        tokens: (rows, C) tokens of the last layer, as the specification says which; float16, or float32 in a cache of
            float32. None where none are kept.
    """

    features: CachedFeatures
    indices: Tensor
    thumbnail: Tensor
    tokens: Tensor | None = None


def quantize(features: Tensor) -> QuantizedFeatures:
    """Features (..., M, D) -> int8 codes of the same shape and scales (..., D), symmetric per channel.

    Scales are float32 tensors of numbers that bfloat16 holds exactly.
    """
    scales = _up_to_bfloat16(features.abs().amax(dim=-2).float() / 127)
    safe = torch.where(scales > 0, scales, torch.ones_like(scales))
    codes = (features.float() / safe.unsqueeze(-2)).round().clamp(-127, 127).to(torch.int8)
    return QuantizedFeatures(codes, scales)


def _up_to_bfloat16(positive: Tensor) -> Tensor:
    """The next number of 0 or above that bfloat16 holds: the upper half of the float32, rounded up."""
    return ((positive.contiguous().view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)


class RecordLayout:
    """Where the parts of a record lie, and how they become tensors and bytes.

    Args:
        spec: what the features are.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        blocks, two, heads, tokens, dim = spec.feature_shape
        index_dtype = torch.uint16 if spec.num_all_tokens <= 2**16 else torch.int32
        parts: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {"features": (_TORCH[spec.dtype], spec.feature_shape)}
        if spec.dtype == "int8":
            parts["scales"] = (
                torch.float32 if spec.format_version == 1 else torch.bfloat16,
                (blocks, two, heads, dim),
            )
        parts["indices"] = (index_dtype, (blocks, heads, tokens))
        parts["thumbnail"] = (torch.uint8, (3, spec.thumbnail_size, spec.thumbnail_size))
        if spec.tokens != "none":
            parts["tokens"] = (torch.float32 if spec.dtype == "float32" else torch.float16, spec.token_shape)
        self.parts: Mapping[str, tuple[torch.dtype, tuple[int, ...]]] = parts
        self.offsets: dict[str, int] = {}
        end = 0
        for name, (dtype, shape) in parts.items():
            self.offsets[name] = end
            end += math.ceil(dtype.itemsize * math.prod(shape) / _ALIGNMENT) * _ALIGNMENT
        self.num_bytes = end
        self.dtype = spec.dtype

    def encode(self, features: Tensor, indices: Tensor, thumbnail: Tensor, tokens: Tensor | None = None) -> bytes:
        """One image's tensors -> bytes.

        Args:
            features: (L, 2, H, M, D) floating point.
            indices: (L, H, M).
            thumbnail: (3, T, T) uint8.
            tokens: (rows, C) floating point, where the specification keeps some.

        Raises:
            ValueError: shapes that do not fit, numbers that are not finite or beyond float16, tokens that are missing.
        """
        values: dict[str, Tensor] = {"indices": indices, "thumbnail": thumbnail}
        if "tokens" in self.parts:
            if tokens is None:
                raise ValueError("the cache keeps tokens of the last layer, but none were given")
            values["tokens"] = self._narrow("tokens", tokens)
        if self.dtype == "int8":
            self._require_finite(features)
            values["features"], values["scales"] = quantize(features)
        else:
            values["features"] = self._narrow("features", features)
        record = bytearray(self.num_bytes)
        for name, (dtype, shape) in self.parts.items():
            if tuple(values[name].shape) != shape:
                raise ValueError(
                    f"{name} of shape {tuple(values[name].shape)} do not fit the cache, which holds {shape}"
                )
            raw = values[name].detach().cpu().to(dtype).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            record[self.offsets[name] : self.offsets[name] + len(raw)] = raw
        return bytes(record)

    def _narrow(self, name: str, values: Tensor) -> Tensor:
        """Values in the stored precision of a part."""
        self._require_finite(values)
        narrow = values.to(self.parts[name][0])
        if not bool(torch.isfinite(narrow).all()):
            raise ValueError(
                f"a feature of {values.abs().max().item():.3g} is beyond the range of float16 (65504); "
                f'use feature_dtype "float32"{" or " + chr(34) + "int8" + chr(34) if name == "features" else ""}'
            )
        return narrow

    @staticmethod
    def _require_finite(values: Tensor) -> None:
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                "the backbone gave numbers that are not finite; use compute_dtype float32 and check the image"
            )

    def decode(self, buffer: Any, start: int) -> StoredImage:
        """The record at byte ``start`` of a writable buffer, as tensors that share its memory (indices and scales are copied)."""
        tensors = {
            name: torch.frombuffer(
                buffer,
                dtype=dtype,
                count=math.prod(shape),
                offset=start + self.offsets[name],
            ).view(shape)
            for name, (dtype, shape) in self.parts.items()
        }
        features: CachedFeatures = tensors["features"]
        if "scales" in tensors:
            features = QuantizedFeatures(tensors["features"], tensors["scales"].float())
        return StoredImage(features, tensors["indices"].to(torch.int64), tensors["thumbnail"], tensors.get("tokens"))
