"""Shades of grey against numpy, and grey as colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transform_phantoms import speckle, with_meta

from monai_fpt.transforms import FPTGreyToRGB, FPTShadesOfGray


@pytest.mark.parametrize("power", [1, 6, 12])
def test_shades_of_grey_is_the_formula(power: float) -> None:
    image = 0.1 + speckle((3, 15, 20), 0.5) * torch.tensor([1.0, 0.7, 0.4]).view(3, 1, 1)
    values = image.numpy().astype(np.float64)
    light = np.array([np.mean(plane**power) ** (1 / power) for plane in values])
    light = light / np.sqrt(np.sum(light**2))
    expected = np.clip(values / (light * np.sqrt(3))[:, None, None], 0, 1)
    np.testing.assert_allclose(FPTShadesOfGray(power)(image).numpy(), expected, atol=1e-6)


def test_the_light_is_taken_out_whatever_its_colour() -> None:
    scene = 0.2 + speckle((3, 15, 20), 0.4)
    tint = torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1)
    white, tinted = FPTShadesOfGray()(scene), FPTShadesOfGray()(scene * tint)
    ratio = tinted / white
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())))
    torch.testing.assert_close(FPTShadesOfGray()(tinted), tinted)


def test_black_channels_stay_black_and_grey_images_are_refused() -> None:
    image = speckle((3, 5, 5), 0.5)
    image[1] = 0
    done = FPTShadesOfGray()(image)
    assert torch.isfinite(done).all() and not done[1].any()
    assert not FPTShadesOfGray()(torch.zeros(3, 4, 4)).any()
    with pytest.raises(ValueError, match=r"shape \(1, 5, 5\).*C 3"):
        FPTShadesOfGray()(image[:1])
    with pytest.raises(ValueError, match=r"power is 0\.5; choose a number from 1 to 20"):
        FPTShadesOfGray(0.5)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5)])
def test_grey_becomes_three_equal_channels_of_its_kind(shape: tuple[int, ...]) -> None:
    image = torch.arange(20, dtype=torch.int16).view(shape)
    done = FPTGreyToRGB()(image)
    assert done.shape == (3, 4, 5) and done.dtype == torch.int16
    assert all(torch.equal(channel, image.view(4, 5)) for channel in done)
    assert FPTGreyToRGB()(done) is done
    assert np.array_equal(FPTGreyToRGB()(image.numpy()), done.numpy())
    assert FPTGreyToRGB()(with_meta(image.float())).meta["filename_or_obj"] == "a.png"


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 4, 5), (1, 1, 4, 5), (5,)])
def test_other_numbers_of_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(H, W\\), \\(1, H, W\\) or \\(3, H, W\\)"):
        FPTGreyToRGB()(torch.zeros(shape))
