"""All breasts face one way: who decides, what is refused, what is written down, and the way back."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from transform_phantoms import breast_phantom, brightest, place, with_meta

from monai_fpt.transforms import FPTBreastCropd, FPTLateralityFlip, FPTLateralityFlipd, FPTResizePadd


@pytest.fixture
def left() -> torch.Tensor:
    """(3, 120, 80), chest wall on the left."""
    return breast_phantom()


@pytest.mark.parametrize("word", ["R", "r", " right "])
def test_a_right_breast_is_mirrored_and_a_left_one_is_not(left: torch.Tensor, word: str) -> None:
    right = torch.from_numpy(left.numpy()[:, :, ::-1].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(FPTLateralityFlip()(right, laterality=word), left)
        assert torch.equal(FPTLateralityFlip()(left, laterality="L"), left)
        mirrored = FPTLateralityFlip()(with_meta(right, laterality="R"))  # of the file itself
    assert torch.equal(mirrored.as_tensor(), left)


@pytest.mark.parametrize(
    "unknown", [None, "", "B", float("nan"), np.nan], ids=["none", "empty", "both", "nan", "pandas"]
)
def test_unknown_laterality_is_an_error_or_the_bright_side_decides(left: torch.Tensor, unknown: Any) -> None:
    with pytest.raises(ValueError, match=r"of 'a\.png' is not known; give it in the data list, or set unknown"):
        FPTLateralityFlip()(with_meta(left), laterality=unknown)
    by_light = FPTLateralityFlip(unknown="bright_side")
    assert torch.equal(by_light(left.flip(2), laterality=unknown), left)
    assert torch.equal(by_light(left, laterality=unknown), left)


def test_equal_halves_are_left_alone_and_reported() -> None:
    symmetrical = torch.full((1, 10, 10), 0.5)
    with pytest.warns(UserWarning, match="equally bright, so it is not mirrored"):
        assert torch.equal(FPTLateralityFlip("bright_side")(symmetrical), symmetrical)
    with pytest.warns(UserWarning, match="equally bright"):
        assert FPTLateralityFlip("bright_side").decide(torch.zeros(1, 4, 5)).why == "undecided"


def test_a_laterality_against_the_light_is_followed_and_reported(left: torch.Tensor) -> None:
    with pytest.warns(UserWarning, match="is R, but its bright half is on the other side"):
        assert torch.equal(FPTLateralityFlip()(left, laterality="R"), left.flip(2))


def test_contradictions_and_strange_words_are_refused(left: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"data list says laterality L and the file of 'a\.png' says R; correct"):
        FPTLateralityFlipd("image")({"image": with_meta(left, laterality="R"), "laterality": "L"})
    with pytest.raises(ValueError, match="laterality of the image is '1'; write L or R"):
        FPTLateralityFlip("bright_side")(left, laterality="1")
    with pytest.raises(ValueError, match="unknown is 'guess'; choose"):
        FPTLateralityFlip("guess")


def test_what_was_done_is_written_down_and_not_done_twice(left: torch.Tensor) -> None:
    flip = FPTLateralityFlip("bright_side")
    once = flip(with_meta(left.flip(2), laterality="R"))
    assert once.meta["laterality_flip"] == "mirrored, laterality R"
    again = flip(once)
    assert torch.equal(again.as_tensor(), left) and again.meta["laterality_flip"] == "mirrored, laterality R"
    assert flip(with_meta(left)).meta["laterality_flip"] == "not mirrored, bright side"
    back = flip.inverse(flip.inverse(again))
    assert torch.equal(back.as_tensor(), left.flip(2)) and "laterality_flip" not in back.meta
    assert not back.applied_operations and back.meta["laterality"] == "R"


@pytest.mark.parametrize("side", ["L", "R"])
def test_masks_go_with_the_image_and_positions_stay(left: torch.Tensor, side: str) -> None:
    image = left if side == "L" else left.flip(2)
    image[0, 70, 30] = 1.0
    mask = (image[:1] > 0.5).byte()
    flip = FPTLateralityFlipd(["image", "mask"])
    given = {"image": with_meta(image), "mask": with_meta(mask), "laterality": side}
    done = flip(given)
    assert brightest(done["image"]) == ((70, 30) if side == "L" else (70, 49))
    assert torch.equal(done["mask"].as_tensor(), (done["image"].as_tensor()[:1] > 0.5).byte())
    assert place(done["image"], *brightest(done["image"])) == pytest.approx([70 * 0.1, 30 * 0.2])
    assert "laterality_flip" not in given["image"].meta and not given["image"].applied_operations
    back = flip.inverse(done)
    assert torch.equal(back["image"].as_tensor(), image) and torch.equal(back["mask"].as_tensor(), mask)
    assert place(back["image"], 70, 30) == pytest.approx([70 * 0.1, 30 * 0.2])


def test_the_whole_mammography_chain_can_be_undone(left: torch.Tensor) -> None:
    right = left.flip(2)
    chain = Compose([FPTLateralityFlipd("image"), FPTBreastCropd("image", margin=0), FPTResizePadd("image", 84, "end")])
    done = chain({"image": with_meta(right), "laterality": "R"})
    assert done["image"].shape == (3, 84, 84) and not done["image"][:, :, 45:].any()  # the box is 84 x 45
    back = chain.inverse(done)["image"].as_tensor()
    assert torch.equal(back[:, 20:104, 35:], right[:, 20:104, 35:]) and not back[:, :, :35].any()
