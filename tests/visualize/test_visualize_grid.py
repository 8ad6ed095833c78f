"""Tokens land where their patch is: on the grid, and on the pixels of the image before the square resize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from monai_fpt.networks import resize_image
from monai_fpt.visualize import resize_heat, token_box
from monai_fpt.visualize.grid import scatter_to_grid


def test_values_lie_at_the_row_and_column_of_their_token_and_add_up() -> None:
    # two prefix tokens, then rows of three: token 2 is (0, 0), token 4 is (0, 2), token 5 is (1, 0)
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    indices = torch.tensor([[4, 5, 1, 5, 0]])

    placed, prefix = scatter_to_grid(values, indices, num_prefix=2, grid=(2, 3))

    torch.testing.assert_close(placed, torch.tensor([[[0.0, 0.0, 1.0], [10.0, 0.0, 0.0]]]))
    torch.testing.assert_close(prefix, torch.tensor([20.0]))


@pytest.mark.parametrize(("row", "column"), [(0, 3), (2, 1), (3, 0)])
def test_the_patch_that_changes_in_the_image_is_the_token_that_changes_on_the_grid(
    row: int, column: int, network: Callable[..., Any]
) -> None:
    backbone = network(blocks=(0,), token_ratio=1.0).backbone  # keys of the first block know their own patch only
    image = torch.randn(1, 3, 64, 64)
    changed = image.clone()
    changed[..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 1

    maps = []
    for one in (image, changed):
        kept = backbone(one)
        norms = kept.features[:, :, 0].norm(dim=-1)  # (1, 1, H, N)
        maps.append(scatter_to_grid(norms.flatten(1), kept.indices.flatten(1), 1, (4, 4))[0][0])

    moved = ((maps[0] - maps[1]).abs() > 1e-4).nonzero().tolist()
    assert moved == [[row, column]]


@pytest.mark.parametrize("size", [(100, 400), (300, 120), (64, 64)], ids=["wide", "tall", "square"])
def test_the_box_of_a_token_is_what_the_square_resize_brings_to_its_patch(size: tuple[int, int]) -> None:
    row, column, grid = 1, 3, (4, 4)
    left, top, right, bottom = (int(edge) for edge in token_box(row, column, grid, size))
    image = torch.zeros(1, 3, *size)
    image[..., top:bottom, left:right] = 1

    square = resize_image(image, 64)[0, 0]

    patches = square.reshape(4, 16, 4, 16).mean((1, 3))
    assert patches[row, column] > 0.95
    assert patches.sum() - patches[row, column] < 0.15


def test_a_map_in_boxes_covers_exactly_the_box_of_its_token() -> None:
    heat = torch.zeros(4, 5)
    heat[2, 1] = 1

    spread = resize_heat(heat, (80, 200), smooth=False)

    expected = torch.zeros(80, 200)
    expected[40:60, 40:80] = 1
    torch.testing.assert_close(spread, expected)


def test_a_pixel_belongs_to_the_token_its_centre_lies_in() -> None:
    spread = resize_heat(torch.arange(4.0)[:, None], (10, 1), smooth=False)  # tokens of 2.5 pixels

    assert spread.flatten().tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


def test_a_smooth_map_has_its_top_in_the_middle_of_the_token_and_stays_in_range() -> None:
    heat = torch.zeros(2, 4, 5)
    heat[1, 2, 1] = 1

    spread = resize_heat(heat, (81, 205))

    assert spread.shape == (2, 81, 205)
    assert spread[0].abs().max() == 0
    assert spread.min() == 0 and spread.max() <= 1
    row, column = divmod(int(spread[1].argmax()), 205)
    assert abs(row - 2.5 * 81 / 4) <= 1 and abs(column - 1.5 * 205 / 5) <= 1
