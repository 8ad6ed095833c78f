"""Resize, normalisation and side augmentation against torchvision and plain arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as pixel_ops

from monai_fpt.transforms import (
    FPTNormalize,
    FPTNormalized,
    FPTResize,
    FPTResizeD,
    FPTResized,
    FPTResizeDict,
    RandFPTSideAugment,
    RandFPTSideAugmentd,
)
from monai_fpt.transforms.array import SideAugmentDraw


@pytest.fixture
def image() -> torch.Tensor:
    """(3, 20, 30) random floats in [0, 1]."""
    return torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))


def still(size: int, **changes: Any) -> RandFPTSideAugment:
    """An augmentation that does nothing but what is asked for."""
    nothing: dict[str, Any] = {
        "flip_prob": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
        "scale": (1.0, 1.0),
        "ratio": (1.0, 1.0),
    }
    return RandFPTSideAugment(size, **(nothing | changes))


@pytest.mark.parametrize("size", [7, 20, 45], ids=["smaller", "half as wide", "larger"])
def test_resize_is_torchvisions_antialiased_one(image: torch.Tensor, size: int) -> None:
    expected = pixel_ops.resize(image, [size, size], antialias=True)
    torch.testing.assert_close(FPTResize(size)(image), expected)


def test_resize_brings_uint8_to_unit_range_and_leaves_its_size_alone() -> None:
    values = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(3, 4, 4) * 5
    resized = FPTResize(4)(values)
    assert resized.dtype == torch.float32 and torch.equal(resized, values.float() / 255)
    assert FPTResize(4)(values.double() / 255).dtype == torch.float32


def test_normalize_is_channel_by_channel(image: torch.Tensor) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    expected = np.stack([(image[c].numpy() - mean[c]) / std[c] for c in range(3)])
    torch.testing.assert_close(FPTNormalize(mean, std)(image), torch.from_numpy(expected).float())


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (lambda x: x * 255, ValueError, "outside \\[0, 1\\]"),
        (lambda x: x - 0.5, ValueError, "already normalised"),
        (lambda x: x * torch.nan, ValueError, "run from nan"),
        (lambda x: (x * 255).byte(), TypeError, "uint8.*apply FPTResize"),
        (lambda x: x[:1], ValueError, "1 channels and mean has 3"),
        (lambda x: x[None], ValueError, "expected \\(C, H, W\\)"),
    ],
    ids=["0..255", "twice", "nan", "bytes", "channels", "batch"],
)
def test_normalize_refuses_what_is_no_unit_image(image: torch.Tensor, spoil: Any, error: Any, reason: str) -> None:
    with pytest.raises(error, match=reason):
        FPTNormalize([0.5] * 3, [0.5] * 3)(spoil(image))


def test_normalize_bears_the_rounding_of_interpolation(image: torch.Tensor) -> None:
    assert FPTNormalize([0.0] * 3, [1.0] * 3)(image * 1.0005).max() > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: FPTResize(0),
        lambda: FPTResize(2.5),  # type: ignore[arg-type]
        lambda: FPTNormalize([0.5], [0.5, 0.5]),
        lambda: FPTNormalize([0.5], [0.0]),
        lambda: RandFPTSideAugment(8, flip_prob=1.5),
        lambda: RandFPTSideAugment(8, contrast=-0.1),
        lambda: RandFPTSideAugment(8, scale=(0.8, 1.2)),
        lambda: RandFPTSideAugment(8, ratio=(1.3, 0.7)),
    ],
)
def test_impossible_settings_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^(FPT|Rand)\w+: .*(give|correct|choose)"):
        make()


def test_without_settings_the_augmentation_is_the_plain_resize(image: torch.Tensor) -> None:
    square = image[:, :, :20].contiguous()
    assert torch.equal(still(8)(square), FPTResize(8)(square))
    values = (square * 255).byte()
    assert torch.equal(still(8)(values), FPTResize(8)(values))


def test_a_certain_flip_mirrors_the_columns(image: torch.Tensor) -> None:
    square = image[:, :, :20].contiguous()
    assert torch.equal(still(20, flip_prob=1.0)(square), torch.from_numpy(square.numpy()[:, :, ::-1].copy()))


def test_flips_come_at_their_rate() -> None:
    augment = RandFPTSideAugment(4, flip_prob=0.3)
    augment.set_random_state(0)
    draws = [augment.randomize(torch.Size([3, 16, 16])).flip for _ in range(2000)]
    assert np.mean(draws) == pytest.approx(0.3, abs=0.04)
    augment = RandFPTSideAugment(4, flip_prob=0.0)
    assert not any(augment.randomize(torch.Size([3, 16, 16])).flip for _ in range(200))


def test_one_draw_is_flip_brightness_contrast_crop_in_this_order(image: torch.Tensor) -> None:
    draw = SideAugmentDraw(flip=True, brightness=1.2, contrast=0.8, top=2, left=3, height=15, width=12)
    expected = pixel_ops.horizontal_flip(image)
    expected = pixel_ops.adjust_contrast(pixel_ops.adjust_brightness(expected, 1.2), 0.8)
    expected = pixel_ops.resized_crop(expected, 2, 3, 15, 12, [8, 8], antialias=True).clamp(0, 1)
    torch.testing.assert_close(RandFPTSideAugment(8)(image, draw), expected)
    bright = (image.flip(2) * 1.2).clamp(0, 1)  # and by arithmetic
    grey = (bright * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(0).mean()
    torch.testing.assert_close(pixel_ops.adjust_contrast(bright, 0.8), bright * 0.8 + grey * 0.2, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(160, 160), (100, 160)])
def test_crops_are_distributed_as_torchvisions(shape: tuple[int, int]) -> None:
    augment = RandFPTSideAugment(8)
    augment.set_random_state(0)
    torch.manual_seed(0)
    blank = torch.zeros(3, *shape)
    draws = [augment.randomize(blank.shape) for _ in range(3000)]
    ours = np.array([(d.top, d.left, d.height, d.width) for d in draws])
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.8, 1.0], [0.7, 1.3]) for _ in range(3000)])
    assert (ours[:, 0] + ours[:, 2] <= shape[0]).all() and (ours[:, 1] + ours[:, 3] <= shape[1]).all()
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=1.0)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=1.0)


@pytest.mark.parametrize("shape", [(10, 100), (100, 10), (50, 50)])
def test_a_crop_that_never_fits_is_torchvisions_centre_crop(shape: tuple[int, int]) -> None:
    augment = still(8, ratio=(0.7, 1.3), scale=(1.0, 1.0)) if shape[0] != shape[1] else still(8, ratio=(0.9, 0.9))
    expected = RandomResizedCrop.get_params(torch.zeros(3, *shape), [1.0, 1.0], list(augment.ratio))
    draw = augment.randomize(torch.Size([3, *shape]))
    if shape[0] != shape[1]:
        assert (draw.top, draw.left, draw.height, draw.width) == expected
    else:  # torchvision keeps the whole image only where its aspect is allowed
        assert (draw.height, draw.width) == expected[2:]


def test_factors_fill_their_range() -> None:
    augment = RandFPTSideAugment(8, brightness=0.2, contrast=0.1)
    augment.set_random_state(0)
    draws = [augment.randomize(torch.Size([3, 9, 9])) for _ in range(2000)]
    for values, reach in (([d.brightness for d in draws], 0.2), ([d.contrast for d in draws], 0.1)):
        assert min(values) == pytest.approx(1 - reach, abs=0.002) and max(values) == pytest.approx(1 + reach, abs=0.002)
        assert np.mean(values) == pytest.approx(1, abs=0.01)


def test_results_stay_in_unit_range_and_follow_the_seed(image: torch.Tensor) -> None:
    augment = RandFPTSideAugment(16, brightness=0.9, contrast=0.9)

    def run(seed: int) -> torch.Tensor:
        augment.set_random_state(seed)
        return torch.stack([augment(image) for _ in range(5)])

    first = run(3)
    assert torch.equal(run(3), first) and not torch.equal(run(4), first)
    assert first.dtype == torch.float32 and first.min() >= 0 and first.max() <= 1
    assert len({tuple(each.flatten()[:4].tolist()) for each in first}) == 5


def test_dictionary_versions_do_as_the_array_ones_and_keep_the_rest(image: torch.Tensor) -> None:
    item = {"image": image, "side": (image * 255).byte(), "label": 1}
    chain = Compose(
        [FPTResized("image", 8), RandFPTSideAugmentd("side", 8), FPTNormalized(["image", "side"], [0.5] * 3, [0.2] * 3)]
    )
    chain.set_random_state(seed=5)
    first = chain(item)
    chain.set_random_state(seed=5)
    again = chain(item)
    assert torch.equal(first["side"], again["side"]) and first["label"] == 1 and item["image"] is image
    torch.testing.assert_close(first["image"], FPTNormalize([0.5] * 3, [0.2] * 3)(FPTResize(8)(image)))
    assert FPTResizeD is FPTResizeDict is FPTResized


def test_one_draw_serves_all_keys(image: torch.Tensor) -> None:
    augment = RandFPTSideAugmentd(["a", "b"], 8).set_random_state(0)
    done = augment({"a": image, "b": image.clone()})
    assert torch.equal(done["a"], done["b"])
    with pytest.raises(ValueError, match="differ in size"):
        augment({"a": image, "b": image[:, :10]})


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: FPTResized(["image", "gone"], 8, **k),
        lambda **k: FPTNormalized(["image", "gone"], [0.5] * 3, [0.5] * 3, **k),
        lambda **k: RandFPTSideAugmentd(["image", "gone"], 8, **k),
    ],
)
def test_missing_keys_are_an_error_unless_allowed(image: torch.Tensor, make: Any) -> None:
    with pytest.raises(KeyError, match="gone"):
        make()({"image": image})
    assert set(make(allow_missing_keys=True)({"image": image})) == {"image"}
    assert make(allow_missing_keys=True)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("make", [lambda: FPTResize(8), lambda: FPTNormalize([0.5] * 3, [0.5] * 3), lambda: still(8)])
def test_a_meta_tensor_keeps_its_metadata(image: torch.Tensor, make: Any) -> None:
    given = MetaTensor(image[:, :, :20].contiguous(), meta={"filename_or_obj": "a.png"})
    done = make()(given)
    assert isinstance(done, MetaTensor) and done.meta["filename_or_obj"] == "a.png"
    plain = make()(given.as_tensor())
    assert type(plain) is torch.Tensor and torch.equal(done.as_tensor(), plain)


def test_arrays_and_whole_numbers_are_refused_by_name(image: torch.Tensor) -> None:
    with pytest.raises(TypeError, match=r"FPTResize: the image is ndarray.*convert it first"):
        FPTResize(8)(image.numpy())
    with pytest.raises(TypeError, match=r"RandFPTSideAugment: the image is torch\.int32"):
        RandFPTSideAugment(8)(image.int())


def test_draws_of_existing_settings_are_what_they_were_before_vertical_flips_and_turns() -> None:
    augment = RandFPTSideAugment(128)
    augment.set_random_state(7)
    assert [augment.randomize(torch.Size([3, 160, 120])) for _ in range(2)] == [
        SideAugmentDraw(True, 1.111967516896046, 0.9753636925763574, 7, 6, 138, 114),
        SideAugmentDraw(False, 1.1214956144417503, 0.9523764532594153, 19, 4, 137, 114),
    ]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_are_numpys_and_come_after_the_flips(image: torch.Tensor, turns: int) -> None:
    shape = (30, 20) if turns % 2 else (20, 30)
    draw = SideAugmentDraw(True, 1.0, 1.0, 0, 0, *shape, vertical_flip=True, quarter_turns=turns)
    values = np.rot90(image.numpy()[:, ::-1, ::-1], turns, axes=(1, 2)).copy()
    torch.testing.assert_close(RandFPTSideAugment(8)(image, draw), FPTResize(8)(torch.from_numpy(values)))


def test_flips_and_turns_come_at_their_rates_and_crops_fit_the_turned_image() -> None:
    augment = RandFPTSideAugment(8, vertical_flip_prob=0.3, rotate_prob=0.6)
    augment.set_random_state(0)
    draws = [augment.randomize(torch.Size([3, 40, 90])) for _ in range(3000)]
    assert np.mean([d.vertical_flip for d in draws]) == pytest.approx(0.3, abs=0.03)
    assert np.bincount([d.quarter_turns for d in draws]) / 3000 == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.03)
    for d in draws:
        height, width = (90, 40) if d.quarter_turns % 2 else (40, 90)
        assert d.top + d.height <= height and d.left + d.width <= width


@pytest.mark.parametrize("chance", ["flip_prob", "vertical_flip_prob", "rotate_prob"])
@pytest.mark.parametrize("value", [-0.1, 1.1, True])
def test_what_is_no_probability_is_refused(chance: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{chance} is .*not a probability; choose 0 to 1"):
        RandFPTSideAugmentd("image", 8, **{chance: value})


def test_the_dictionary_turns_all_keys_alike(image: torch.Tensor) -> None:
    augment = RandFPTSideAugmentd(["a", "b"], 8, vertical_flip_prob=1.0, rotate_prob=1.0).set_random_state(0)
    done = augment({"a": image, "b": image.clone()})
    assert torch.equal(done["a"], done["b"])
