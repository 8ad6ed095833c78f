"""The aspect is kept: geometry, masks, positions, spacing, and the way back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SpatialPad
from torchvision.transforms.v2 import functional as pixel_ops
from transform_phantoms import brightest, place, speckle, with_meta

from monai_fpt.transforms import FPTFundusCropd, FPTResize, FPTResizePad, FPTResizePadd, RandFPTSideAugment
from monai_fpt.transforms.array import SideAugmentDraw


@pytest.mark.parametrize(
    ("shape", "inner", "corner"),
    [
        ((60, 80), (24, 32), (4, 0)),
        ((80, 60), (32, 24), (0, 4)),
        ((20, 16), (32, 26), (0, 3)),
        ((50, 50), (32, 32), (0, 0)),
    ],
    ids=["wide", "tall", "enlarged", "square"],
)
def test_the_longer_side_is_resized_and_the_shorter_padded(
    shape: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int]
) -> None:
    image = speckle((3, *shape), 1.0)
    done = FPTResizePad(32, fill=0.5)(image)
    window = tuple(slice(start, start + size) for start, size in zip(corner, inner, strict=True))
    torch.testing.assert_close(done[(slice(None), *window)], pixel_ops.resize(image, list(inner), antialias=True))
    rest = torch.ones(32, 32, dtype=torch.bool)
    rest[window] = False
    assert (done[:, rest] == 0.5).all()
    at_end = FPTResizePad(32, "end")(image)
    assert torch.equal(at_end[:, : inner[0], : inner[1]], done[(slice(None), *window)])
    assert not at_end[:, inner[0] :].any() and not at_end[:, :, inner[1] :].any()


def test_without_a_size_it_only_pads_and_twice_is_once() -> None:
    image = (speckle((1, 20, 33), 1.0) * 255).byte()
    done = FPTResizePad()(image)
    assert torch.equal(done, SpatialPad((33, 33))(image).as_tensor()) and done.dtype == torch.uint8
    assert torch.equal(FPTResizePad()(done), done)
    square = FPTResizePad(32)(speckle((3, 40, 70), 1.0))
    assert torch.equal(FPTResizePad(32)(square), square)


def test_masks_keep_their_values_and_integers_are_not_interpolated() -> None:
    mask = torch.zeros(1, 40, 60, dtype=torch.int64)
    mask[:, 10:20, 30:50] = 3
    done = FPTResizePad(30, mode="nearest")(mask)
    assert done.dtype == torch.int64 and done.unique().tolist() == [0, 3]
    expected = torch.nn.functional.interpolate(mask[None].float(), size=(20, 30), mode="nearest-exact")[0]
    assert torch.equal(done[:, 5:25], expected.long())
    with pytest.raises(TypeError, match="int64, which cannot be interpolated; choose mode 'nearest'"):
        FPTResizePad(30)(mask)


def test_positions_and_spacing_follow_and_come_back() -> None:
    image = torch.zeros(3, 60, 80)
    image[:, 20:24, 48:52] = 1.0  # a block with its middle at (21.5, 49.5)
    transform = FPTResizePad(20)
    done = transform(with_meta(image))
    assert brightest(done) == (7, 12) and place(done, 7, 12) == pytest.approx([21.5 * 0.1, 49.5 * 0.2])
    np.testing.assert_allclose(done.meta["spacing"], [0.4, 0.8])
    back = transform.inverse(done)
    assert back.shape == (3, 60, 80) and place(back, 20, 48) == pytest.approx([20 * 0.1, 48 * 0.2])
    np.testing.assert_allclose(back.meta["spacing"], [0.1, 0.2])
    assert brightest(back)[0] in range(20, 24) and brightest(back)[1] in range(48, 52)
    assert not back.applied_operations


def test_a_smooth_picture_survives_there_and_back() -> None:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 60), torch.linspace(0, 1, 90), indexing="ij")
    image = (0.5 * rows + 0.5 * columns**2)[None].repeat(3, 1, 1)
    transform = FPTResizePad(45)
    back = transform.inverse(transform(with_meta(image)))
    torch.testing.assert_close(back.as_tensor()[:, 3:-3, 3:-3], image[:, 3:-3, 3:-3], atol=2e-3, rtol=0)


def test_invertd_takes_masks_back_by_the_nearest_value() -> None:
    chain = Compose([FPTFundusCropd(["image"], threshold=0.3, min_share=0.1), FPTResizePadd(["image"], 30)])
    image = torch.zeros(3, 60, 80)
    image[:, 10:50, 20:80] = 0.8
    done = chain({"image": with_meta(image)})
    prediction = MetaTensor(torch.zeros(1, 30, 30))
    prediction[:, 5:25] = 1.0  # what is not padding
    done["mask"] = prediction
    back = Invertd("mask", chain, orig_keys="image")(done)["mask"]
    assert torch.equal(back.as_tensor(), (image[:1] > 0).float())


def test_each_key_has_its_mode_and_fill() -> None:
    item = {"image": speckle((3, 40, 60), 1.0), "mask": torch.ones(1, 40, 60, dtype=torch.uint8), "label": 2}
    transform = FPTResizePadd(["image", "mask"], 30, mode=["bilinear", "nearest"], fill=[0.25, 7])
    done = transform(item)
    assert float(done["image"][0, 0, 0]) == 0.25 and int(done["mask"][0, 0, 0]) == 7 and done["label"] == 2
    assert done["mask"].dtype == torch.uint8
    traced = transform({"image": with_meta(item["image"]), "mask": with_meta(item["mask"]), "label": 2})
    back = transform.inverse(traced)
    assert back["image"].shape == (3, 40, 60) and torch.equal(back["mask"].as_tensor(), item["mask"])


@pytest.mark.parametrize(
    "settings",
    [{"size": 0}, {"size": 2.5}, {"method": "start"}, {"mode": "bicubic"}],
    ids=lambda settings: next(iter(settings)),
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"FPTResizePad: \w+ is .*; (choose|give)"):
        FPTResizePad(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(40, 60), (3, 0, 5), (1, 3, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(C, H, W\\)"):
        FPTResizePad(8)(torch.zeros(shape))


def test_a_very_thin_image_keeps_a_pixel() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(FPTResizePad(8)(torch.ones(1, 2, 400)).sum()) == pytest.approx(8)


def test_the_other_resizes_move_the_spacing_too() -> None:
    image = with_meta(speckle((3, 60, 80), 1.0))
    np.testing.assert_allclose(FPTResize(20)(image).meta["spacing"], [0.3, 0.8])
    draw = SideAugmentDraw(False, 1.0, 1.0, 0, 0, height=40, width=30, quarter_turns=1)
    np.testing.assert_allclose(RandFPTSideAugment(10)(image, draw).meta["spacing"], [0.2 * 4, 0.1 * 3])
    np.testing.assert_allclose(image.meta["spacing"], [0.1, 0.2])
