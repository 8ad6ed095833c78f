"""Crops to disc and breast: the box, what falls back to the whole image, one decision for several keys, the inverse."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, CropForeground, Invertd
from skimage.filters import threshold_otsu
from transform_phantoms import breast_phantom, brightest, fundus_phantom, place, speckle, with_meta

from monai_fpt.transforms import FPTBreastCrop, FPTBreastCropd, FPTCircleMaskd, FPTFundusCrop, FPTFundusCropd
from monai_fpt.transforms.boxes import PixelBox, largest_region, reduced


def quiet(transform: Any, image: Any) -> Any:
    """The box, and the assertion that nothing was warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return transform.find_box(image)


@pytest.mark.parametrize(
    ("radius", "centre", "expected"),
    [
        (30, 62, PixelBox(15, 75, 33, 92)),
        (50, 62, PixelBox(0, 90, 13, 112)),
        (40, 20, PixelBox(5, 85, 0, 60)),
        (25, 115, PixelBox(20, 70, 91, 140)),
    ],
    ids=["whole", "cut at top and bottom", "cut at the left", "touches the right end"],
)
def test_the_disc_is_found_in_noisy_black(radius: float, centre: float, expected: PixelBox) -> None:
    image = fundus_phantom(radius=radius, centre=centre)
    assert CropForeground()(image).shape == image.shape  # MONAI's default takes the noise
    assert quiet(FPTFundusCrop(), image) == expected
    cropped = FPTFundusCrop()(image)
    assert torch.equal(cropped, image[:, expected.top : expected.bottom, expected.left : expected.right])
    assert cropped.is_contiguous() and quiet(FPTFundusCrop(), cropped) == PixelBox(
        0, *cropped.shape[1:2], 0, cropped.shape[2]
    )


def test_a_date_in_the_corner_is_no_disc() -> None:
    image = fundus_phantom(radius=30)
    image[:, 80:86, 2:20] = 1.0
    assert FPTFundusCrop().find_box(image) == PixelBox(15, 75, 33, 92)


def test_uint8_and_floats_have_one_box() -> None:
    image = (fundus_phantom() * 255).round().byte()
    assert FPTFundusCrop().find_box(image) == FPTFundusCrop().find_box(image.float() / 255)
    assert FPTFundusCrop()(image).dtype == torch.uint8


def test_a_margin_is_a_share_of_the_box_and_ends_at_the_image() -> None:
    assert FPTFundusCrop(margin=0.1).find_box(fundus_phantom(radius=30)) == PixelBox(9, 81, 27, 98)
    assert FPTFundusCrop(margin=0.9).find_box(fundus_phantom(radius=30)) == PixelBox(0, 90, 0, 140)


@pytest.mark.parametrize("crop", [FPTFundusCrop(), FPTBreastCrop()], ids=["fundus", "breast"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0], ids=["black", "grey", "white"])
def test_a_constant_image_stays_whole_and_is_reported(crop: Any, value: float) -> None:
    image = with_meta(torch.full((3, 40, 50), value))
    with pytest.warns(UserWarning, match=r"all values are .* of 'a\.png', so it is kept whole; look at the image"):
        assert torch.equal(crop(image).as_tensor(), image.as_tensor())


def test_noise_alone_and_a_speck_stay_whole_and_are_reported() -> None:
    black = speckle((3, 60, 60))
    with pytest.warns(UserWarning, match="no picture stands out"):
        assert FPTFundusCrop()(black).shape == black.shape
    black[:, 10:14, 10:14] = 1.0
    for crop in (FPTFundusCrop(), FPTBreastCrop(margin=0)):
        with pytest.warns(UserWarning, match=r"only 0\.4% of the area .*lower min_share"):
            assert crop(black).shape == black.shape
    assert quiet(FPTFundusCrop(min_share=0.001), black) == PixelBox(10, 14, 10, 14)


def test_the_breast_is_found_with_its_fat_and_without_the_label() -> None:
    image = breast_phantom()
    assert threshold_otsu(image[0].numpy()) > float(image[0, 30, 10])  # of the plain values: it would cut the fat
    assert quiet(FPTBreastCrop(margin=0), image) == PixelBox(20, 104, 0, 45)
    assert FPTBreastCrop(margin=0).find_box(image[:1]) == PixelBox(20, 104, 0, 45)


def test_tape_that_touches_the_breast_by_a_thin_bridge_is_cut_off() -> None:
    image = torch.nn.functional.interpolate(breast_phantom()[None], scale_factor=6)[0]  # 720 x 480
    image[:, 300:304, 250:440] = 0.5
    image[:, 290:330, 400:460] = 0.5
    assert FPTBreastCrop(margin=0).find_box(image).right == pytest.approx(45 * 6, abs=6)


def test_a_bright_frame_of_film_is_left_out_by_the_border() -> None:
    image = breast_phantom()
    image[:, :2], image[:, -2:], image[:, :, :2], image[:, :, -2:] = 0.95, 0.95, 0.95, 0.95
    assert FPTBreastCrop(margin=0).find_box(image) == PixelBox(0, 120, 0, 80)
    assert FPTBreastCrop(margin=0, border=0.03).find_box(image) == PixelBox(20, 104, 0, 45)


def test_large_images_are_searched_in_blocks_and_never_lose_a_pixel() -> None:
    image = torch.zeros(1, 2600, 3000)
    image[:, 700:2101, 500:2222] = 0.5
    box = FPTFundusCrop().find_box(image)
    assert reduced(image)[1] == 3 and all(side % 3 == 0 for side in box)
    assert 698 <= box.top <= 700 and 2101 <= box.bottom < 2104 and 498 <= box.left <= 500 and 2222 <= box.right < 2225
    small, _ = reduced(image[:, :2599, :2999])  # blocks at the end are averaged over what there is
    assert small.shape == (1, 867, 1000) and float(small[0, 300, 200]) == 0.5


def test_the_largest_region_is_by_area() -> None:
    mask = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]], dtype=bool)
    assert largest_region(mask).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]]
    assert not largest_region(~np.ones((2, 2), dtype=bool)).any()


@pytest.mark.parametrize(
    ("crop", "image"),
    [(FPTFundusCropd, fundus_phantom(radius=30)), (FPTBreastCropd, breast_phantom())],
    ids=["fundus", "breast"],
)
def test_masks_follow_the_first_key_and_all_is_undone_in_place(crop: Any, image: torch.Tensor) -> None:
    image[0, 60, 40] = 1.0
    mask = (torch.rand(1, *image.shape[1:]) > 0.5).byte()
    transform = crop(["image", "mask"])
    done = transform({"image": with_meta(image), "mask": with_meta(mask), "label": 1})
    top, bottom, left, right = transform.transform.find_box(image)
    assert torch.equal(done["mask"].as_tensor(), mask[:, top:bottom, left:right]) and done["label"] == 1
    assert done["image"].shape[1:] == done["mask"].shape[1:] != image.shape[1:]
    assert place(done["image"], *brightest(done["image"])) == pytest.approx([60 * 0.1, 40 * 0.2])
    back = transform.inverse(done)
    window = torch.zeros(image.shape[1:])
    window[top:bottom, left:right] = 1
    assert torch.equal(back["image"].as_tensor(), image * window)
    assert torch.equal(back["mask"].as_tensor(), mask * window.byte()) and not back["image"].applied_operations
    assert place(back["image"], 60, 40) == pytest.approx([60 * 0.1, 40 * 0.2])


def test_another_key_may_decide() -> None:
    image, mask = fundus_phantom(radius=30), torch.ones(1, 90, 140)
    done = FPTFundusCropd(["mask", "image"], source_key="image")({"image": image, "mask": mask})
    assert done["mask"].shape == (1, 60, 59) and done["image"].shape == (3, 60, 59)
    with pytest.raises(KeyError, match="no 'image', which decides for \\['mask'\\]"):
        FPTFundusCropd(["image", "mask"], allow_missing_keys=True)({"mask": mask})
    assert FPTFundusCropd("image", allow_missing_keys=True)({"label": 1}) == {"label": 1}
    with pytest.raises(ValueError, match=r"differ in height or width.*\(90, 140\).*\(90, 139\)"):
        FPTFundusCropd(["image", "mask"])({"image": image, "mask": mask[:, :, :-1]})


def test_the_trace_survives_what_stands_between_and_invertd_uses_it() -> None:
    image = fundus_phantom(radius=30)
    chain = Compose([FPTFundusCropd("image"), FPTCircleMaskd("image")])
    done = chain({"image": with_meta(image)})
    done["map"] = done["image"][:1].clone()  # such as a heat map of the network
    back = Invertd("map", chain, orig_keys="image")(done)
    assert back["map"].shape == (1, 90, 140)
    assert torch.equal(back["map"].as_tensor()[:, 15:75, 33:92], done["map"].as_tensor())


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (lambda x: x * 255, ValueError, r"FPTFundusCrop: the image has values from .* outside \[0, 1\]"),
        (lambda x: x * torch.nan, ValueError, "values from nan"),
        (lambda x: x[:2], ValueError, "expected \\(C, H, W\\) with C 1 or 3"),
        (lambda x: x[0], ValueError, "expected \\(C, H, W\\)"),
        (lambda x: x[:, :0], ValueError, "shape \\(3, 0, 140\\)"),
        (lambda x: (x * 1000).int(), TypeError, r"torch\.int32"),
    ],
    ids=["0..255", "nan", "two channels", "no channel", "empty", "integers"],
)
def test_what_is_no_unit_image_is_refused(spoil: Any, error: Any, reason: str) -> None:
    with pytest.raises(error, match=reason):
        FPTFundusCrop()(spoil(fundus_phantom()))
