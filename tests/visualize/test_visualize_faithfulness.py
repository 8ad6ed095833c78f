"""Measures of a map: curves follow the cache token by token, hits are counted on the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from monai_fpt.visualize import curve_area, deletion_curve, heat_inside, insertion_curve, pointing_game


def test_a_curve_runs_from_the_model_s_own_probability_to_that_without_tokens(
    network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(prefix_tokens="drop")
    side_image, kept = seen(model)
    target = torch.tensor([0, 1, 2])
    given = (model, kept.features, kept.indices, side_image, torch.rand(3, 4, 4), target)
    nothing = kept.features.clone()
    nothing[:, :, 1] = 0  # prompts that attend to nothing get nothing

    deletion, insertion = deletion_curve(*given, steps=5), insertion_curve(*given, steps=5)

    own = model(side_image, kept.features).softmax(1).detach()[torch.arange(3), target]
    blind = model(side_image, nothing).softmax(1).detach()[torch.arange(3), target]
    assert deletion.shape == (3, 6)
    assert (own - blind).abs().min() > 1e-3
    torch.testing.assert_close(deletion[:, 0], own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(deletion[:, -1], blind, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(insertion[:, 0], blind, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(insertion[:, -1], own, rtol=1e-4, atol=1e-5)


def test_each_step_takes_the_strongest_located_places_that_are_left(
    network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(blocks=(1,), num_tokens=5)
    side_image, kept = seen(model, batch=1)
    heat = torch.rand(1, 4, 4)
    places = sorted(set(kept.indices.flatten().tolist()) - {0}, key=lambda p: -float(heat.flatten()[p - 1]))

    curve = deletion_curve(model, kept.features, kept.indices, side_image, heat, torch.tensor([1]), steps=len(places))

    from monai_fpt.visualize.explicit import fusion_attention, logits_from_attention

    for taken in (1, 3):
        keep = torch.tensor([[[[int(i) not in places[:taken] for i in head] for head in kept.indices[0, 0]]]])
        attention = fusion_attention(model, kept.features, keep)
        logits = logits_from_attention(model, attention, kept.features, side_image)
        torch.testing.assert_close(curve[0, taken], logits.softmax(1)[0, 1].detach())


def test_inserting_by_a_map_is_deleting_by_its_opposite_read_backwards(
    network: Callable[..., Any], seen: Callable[..., Any]
) -> None:
    model = network(blocks=(1,), num_tokens=17)  # all 16 places are located
    side_image, kept = seen(model)
    heat, target = torch.rand(3, 4, 4), torch.tensor([0, 1, 2])
    given = (model, kept.features, kept.indices, side_image)

    insertion = insertion_curve(*given, heat, target, steps=16)
    deletion = deletion_curve(*given, -heat, target, steps=16)

    torch.testing.assert_close(insertion, deletion.flip(1))


def test_multilabel_probabilities_are_sigmoids(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)
    given = (model, kept.features, kept.indices, side_image, torch.rand(3, 4, 4), torch.tensor([2, 2, 2]))

    curve = deletion_curve(*given, steps=2, multilabel=True)

    own = model(side_image, kept.features)[:, 2].sigmoid().detach()
    torch.testing.assert_close(curve[:, 0], own, rtol=1e-4, atol=1e-5)


def test_a_map_of_another_grid_is_refused(network: Callable[..., Any], seen: Callable[..., Any]) -> None:
    model = network()
    side_image, kept = seen(model)

    with pytest.raises(ValueError, match="heat of 5 x 4 tokens does not fit this model's grid of 4 x 4"):
        deletion_curve(model, kept.features, kept.indices, side_image, torch.rand(3, 5, 4), torch.tensor([0, 0, 0]))


def test_the_area_of_a_straight_line_is_a_half() -> None:
    curves = torch.stack([torch.linspace(1, 0, 11), torch.full((11,), 0.3)])

    torch.testing.assert_close(curve_area(curves), torch.tensor([0.5, 0.3]))


def test_pointing_hits_where_the_strongest_token_lies_on_the_sign() -> None:
    heat = torch.zeros(3, 2, 4)
    heat[0, 1, 2] = heat[1, 0, 3] = 1.0  # centres at (75, 125) and (25, 175) of 100 x 200; the third points nowhere
    truth = torch.zeros(3, 100, 200, dtype=torch.bool)
    truth[:, 70:80, 120:130] = True

    assert pointing_game(heat, truth).tolist() == [True, False, False]


def test_heat_inside_is_the_share_that_lies_on_the_sign() -> None:
    heat = torch.zeros(2, 2, 4)
    heat[0, 0, 0], heat[0, 1, 3], heat[0, 1, 0] = 3.0, 1.0, -5.0
    truth = torch.zeros(2, 100, 200, dtype=torch.bool)
    truth[:, :50, :25] = True  # half of token (0, 0)

    torch.testing.assert_close(heat_inside(heat, truth), torch.tensor([3 / 8, 0.0]))
