"""Pictures of maps: colours, overlays and crops at the image's own resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from monai_fpt.visualize import colour_heat, overlay, top_patches


@pytest.fixture
def image() -> NDArray[np.uint8]:
    """120 x 200 pixels, every one different from its neighbours."""
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    return pixels


def test_an_empty_map_leaves_the_image_as_it_is(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(np.asarray(overlay(image, torch.zeros(4, 5))), image)


def test_a_full_map_at_full_opacity_is_the_last_colour(image: NDArray[np.uint8]) -> None:
    shown = np.asarray(overlay(image, torch.ones(4, 5), opacity=1, colours="magma"))

    assert (shown == np.array(colormaps["magma"](1.0, bytes=True)[:3])).all()


def test_an_overlay_changes_the_box_of_the_hot_token_and_nothing_else(image: NDArray[np.uint8]) -> None:
    heat = torch.zeros(4, 5)
    heat[1, 3] = 1

    changed = (np.asarray(overlay(image, heat, smooth=False)) != image).any(axis=2)

    assert changed[30:60, 120:160].mean() > 0.99
    changed[30:60, 120:160] = False
    assert not changed.any()


@pytest.mark.parametrize(
    "convert",
    [
        Image.fromarray,
        lambda a: torch.from_numpy(a).permute(2, 0, 1) / 255,
        lambda a: torch.from_numpy(a).permute(2, 0, 1).double() / 255,
        lambda a: torch.from_numpy(a).permute(2, 0, 1),
    ],
    ids=["PIL", "tensor", "float64 tensor", "uint8 tensor"],
)
def test_images_may_come_as_picture_array_or_tensor(convert: Any, image: NDArray[np.uint8]) -> None:
    heat = torch.rand(4, 5)

    np.testing.assert_array_equal(np.asarray(overlay(convert(image), heat)), np.asarray(overlay(image, heat)))


def test_grey_images_are_shown_in_grey(image: NDArray[np.uint8]) -> None:
    grey = image[..., 0]
    expected = np.asarray(overlay(np.stack([grey] * 3, axis=-1), torch.eye(4)))

    np.testing.assert_array_equal(np.asarray(overlay(grey, torch.eye(4))), expected)
    np.testing.assert_array_equal(np.asarray(overlay(torch.from_numpy(grey)[None] / 255, torch.eye(4))), expected)


def test_a_coloured_map_is_the_table_s_colours() -> None:
    heat = torch.tensor([[0.0, 0.5, 1.0]])

    picture = colour_heat(heat, colours="cividis")

    assert picture.size == (3, 1)
    np.testing.assert_array_equal(np.asarray(picture)[0], colormaps["cividis"]([0.0, 0.5, 1.0], bytes=True)[:, :3])
    assert colour_heat(heat, size=(20, 60)).size == (60, 20)


def test_patches_are_cut_from_the_image_around_the_strongest_tokens(image: NDArray[np.uint8]) -> None:
    heat = torch.zeros(4, 5)
    heat[2, 2], heat[0, 4] = 1.0, 0.5  # tokens of 30 x 40 pixels

    first, second = top_patches(image, heat)

    assert (first.token, first.heat, first.box) == ((2, 2), 1.0, (40, 30, 160, 120))
    assert (second.token, second.heat, second.box) == ((0, 4), 0.5, (120, 0, 200, 60))  # cut off at the corner
    np.testing.assert_array_equal(np.asarray(first.picture), image[30:120, 40:160])
    np.testing.assert_array_equal(np.asarray(second.picture), image[0:60, 120:200])


def test_patches_show_different_places(image: NDArray[np.uint8]) -> None:
    heat = torch.zeros(4, 5)
    heat[0, 0], heat[0, 1], heat[3, 3] = 1.0, 0.9, 0.1

    assert [patch.token for patch in top_patches(image, heat)] == [(0, 0), (3, 3)]
    assert [patch.token for patch in top_patches(image, heat, surroundings=0)] == [(0, 0), (0, 1), (3, 3)]
    assert [patch.token for patch in top_patches(image, heat, count=1)] == [(0, 0)]


def test_an_empty_map_has_no_patches(image: NDArray[np.uint8]) -> None:
    assert top_patches(image, torch.zeros(4, 5)) == []


def test_images_smaller_than_the_grid_still_have_patches() -> None:
    tiny = np.zeros((2, 3), np.uint8)

    assert all(min(patch.picture.size) >= 1 for patch in top_patches(tiny, torch.rand(16, 16), 20, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heat": torch.zeros(1, 4, 5)}, r"heat of shape \(1, 4, 5\) is not one map"),
        ({"heat": torch.full((4, 5), 1.5)}, "heat runs from 1.5 to 1.5, outside"),
        ({"heat": torch.full((4, 5), float("nan"))}, "outside"),
        ({"colours": "jet"}, "colours='jet' is not perceptually uniform"),
        ({"opacity": 2}, "opacity=2 lies outside"),
        ({"image": torch.randn(3, 9, 9) * 3}, "give it before normalisation"),
        ({"image": torch.zeros(3, 9, 9, dtype=torch.int16)}, "expected floats or uint8"),
        ({"image": torch.zeros(9, 9, 3)}, "expected floats or uint8"),
        ({"image": np.zeros((9, 9), np.uint16)}, "array of uint16"),
        ({"image": np.zeros((3, 9, 9), np.uint8)}, "expected uint8"),
        ({"image": Image.new("I;16", (9, 9))}, "has the mode I;16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_image_or_no_map_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overlay(**({"image": np.zeros((9, 9), np.uint8), "heat": torch.zeros(4, 5)} | change))


def test_senseless_counts_are_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="count=0 must be at least 1"):
        top_patches(image, torch.ones(4, 5), count=0)
