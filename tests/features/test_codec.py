"""A record keeps what was put in: float32 exactly, float16 and int8 within their rounding, and nothing that is no number."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from feature_toys import Toy

from monai_fpt.features import quantize
from monai_fpt.features.codec import RecordLayout


def parts(toy: Toy) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = torch.randn(toy.spec().feature_shape) * torch.logspace(-3, 2, 64)
    return features, torch.randint(0, 5, (1, 3, 2)), torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)


def through(toy: Toy, dtype: Any, row: int = 1) -> tuple[Any, Any]:
    layout, given = RecordLayout(toy.spec(dtype)), parts(toy)
    record = layout.encode(*given)
    assert len(record) == layout.num_bytes
    return given, layout.decode(bytearray(bytes(row * layout.num_bytes) + record), row * layout.num_bytes)


def test_float32_is_exact(toy: Toy) -> None:
    given, stored = through(toy, "float32")

    assert torch.equal(stored.features, given[0])


def test_float16_is_the_nearest_float16(toy: Toy) -> None:
    given, stored = through(toy, "float16")

    assert torch.equal(stored.features, given[0].half())
    assert bool(((stored.features.float() - given[0]).abs() <= given[0].abs() * 2**-11 + 2**-25).all())


def test_int8_is_within_half_a_step_of_its_channel(toy: Toy) -> None:
    given, stored = through(toy, "int8")

    error = (stored.features.codes * stored.features.scales.unsqueeze(-2) - given[0]).abs()
    step = given[0].abs().amax(dim=-2, keepdim=True) / 127 * (1 + 2**-7)  # scales are rounded up to bfloat16
    assert bool((error <= step * 0.5001).all())
    assert stored.features.codes.abs().amax(dim=-2).ge(126).all()


def test_scales_of_int8_are_what_the_codes_were_made_with(toy: Toy) -> None:
    given, stored = through(toy, "int8")

    codes, scales = quantize(given[0])
    assert torch.equal(stored.features.scales, scales)
    assert torch.equal(scales, scales.bfloat16().float())
    assert torch.equal(stored.features.codes, codes)


def test_int8_records_of_the_first_version_are_still_read(toy: Toy) -> None:
    layout, given = RecordLayout(dataclasses.replace(toy.spec("int8"), format_version=1)), parts(toy)

    stored: Any = layout.decode(bytearray(layout.encode(*given)), 0).features

    assert layout.parts["scales"][0] == torch.float32
    assert torch.equal(stored.codes, quantize(given[0]).codes)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_indices_and_thumbnail_are_exact_in_every_precision(dtype: str, toy: Toy) -> None:
    given, stored = through(toy, dtype)

    assert torch.equal(stored.indices, given[1])
    assert torch.equal(stored.thumbnail, given[2])


def test_a_channel_of_zeros_quantises_to_zeros() -> None:
    codes, scales = quantize(torch.zeros(2, 3, 4))

    assert not codes.any()
    assert torch.isfinite(scales).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
def test_a_number_that_is_none_is_refused(bad: float, dtype: str, toy: Toy) -> None:
    features, indices, thumbnail = parts(toy)
    features[0, 1, 2, 1, 5] = bad

    with pytest.raises(ValueError, match="not finite"):
        RecordLayout(toy.spec(dtype)).encode(features, indices, thumbnail)


def test_a_number_beyond_float16_is_refused_with_what_to_do(toy: Toy) -> None:
    features, indices, thumbnail = parts(toy)
    features[0, 0, 0, 0, 0] = 70_000

    with pytest.raises(
        ValueError, match=r'7e\+04 is beyond the range of float16 \(65504\); use feature_dtype "float32" or "int8"'
    ):
        RecordLayout(toy.spec("float16")).encode(features, indices, thumbnail)


def test_parts_of_another_shape_are_refused(toy: Toy) -> None:
    features, indices, thumbnail = parts(toy)

    with pytest.raises(
        ValueError, match=r"thumbnail of shape \(3, 10, 10\) do not fit the cache, which holds \(3, 20, 20\)"
    ):
        RecordLayout(toy.spec()).encode(features, indices, thumbnail[:, ::2, ::2])


def test_a_record_of_float16_takes_half_of_float32_and_int8_about_a_quarter(toy: Toy) -> None:
    big = dataclasses.replace(
        toy.spec(), num_tokens=205, num_all_tokens=1025, num_heads=12, blocks=tuple(range(6)), thumbnail_size=160
    )
    sizes = {
        dtype: RecordLayout(dataclasses.replace(big, dtype=dtype)).num_bytes for dtype in ("float32", "float16", "int8")
    }

    features, rest = 6 * 2 * 12 * 205 * 64, 6 * 12 * 205 * 2 + 3 * 160 * 160
    assert sizes["float32"] == pytest.approx(4 * features + rest, abs=256)
    assert sizes["float16"] == pytest.approx(2 * features + rest, abs=256)
    assert sizes["int8"] == pytest.approx(features + rest + 6 * 2 * 12 * 64 * 4, abs=256)
