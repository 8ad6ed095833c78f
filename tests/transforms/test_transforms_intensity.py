"""CLAHE against scikit-image, percentiles against numpy, windows against arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import ScaleIntensityRange
from skimage.color import rgb2lab
from skimage.exposure import equalize_adapthist
from transform_phantoms import breast_phantom, speckle

from monai_fpt.transforms import FPTClahe, FPTPercentileScale, FPTWindow


def test_clahe_of_grey_is_scikit_images_on_every_channel() -> None:
    plane = breast_phantom()[0]
    expected = equalize_adapthist(plane.numpy().astype(np.float64), kernel_size=[15, 10], clip_limit=0.02)
    done = FPTClahe(clip_limit=0.02)(plane.expand(3, -1, -1))
    np.testing.assert_allclose(done[2].numpy(), expected, atol=1e-6)
    assert torch.equal(done[0], done[2]) and torch.equal(FPTClahe(clip_limit=0.02)(plane[None])[0], done[0])


def test_clahe_of_colour_changes_the_lightness_and_leaves_the_hue() -> None:
    ramp = torch.linspace(0.3, 0.5, 48).expand(48, 48) + speckle((48, 48), 0.05)
    image = torch.stack([ramp, 0.8 * ramp, 0.7 * ramp])
    before, after = (rgb2lab(each.double().numpy(), channel_axis=0) for each in (image, FPTClahe()(image)))
    expected = 100 * equalize_adapthist(before[0] / 100, kernel_size=[6, 6], clip_limit=0.01)
    inside = (FPTClahe()(image) < 0.999).all(0).numpy() & (FPTClahe()(image) > 0.001).all(0).numpy()
    assert inside.mean() > 0.5
    np.testing.assert_allclose(after[0][inside], expected[inside], atol=0.01)
    np.testing.assert_allclose(after[1:][:, inside], before[1:][:, inside], atol=0.01)


@pytest.mark.parametrize("image", [torch.full((3, 9, 9), 0.4), torch.zeros(1, 9, 9), torch.ones(3, 1, 1)])
def test_clahe_leaves_constant_images(image: torch.Tensor) -> None:
    assert torch.equal(FPTClahe()(image), image)


@pytest.mark.parametrize("settings", [{"clip_limit": 0}, {"clip_limit": 2.0}, {"tiles": 0}, {"tiles": 2.5}])
def test_clahe_refuses_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"FPTClahe: \w+ is .*; choose"):
        FPTClahe(**settings)


def test_percentiles_are_those_of_the_foreground() -> None:
    tissue = np.random.default_rng(0).normal(500, 50, (30, 40))
    image = np.full((1, 100, 40), -1000.0)  # 70 % air
    image[0, :30] = tissue
    low, high = np.percentile(tissue, [2, 98])
    done = FPTPercentileScale(2, 98)(torch.from_numpy(image))
    np.testing.assert_allclose(done[0, :30].numpy(), np.clip((tissue - low) / (high - low), 0, 1), atol=1e-6)
    assert not done[0, 30:].any() and done.dtype == torch.float32
    with_air = FPTPercentileScale(2, 98, foreground=False)(torch.from_numpy(image))
    low, high = np.percentile(image, [2, 98])
    np.testing.assert_allclose(with_air.numpy(), np.clip((image - low) / (high - low), 0, 1), atol=1e-6)


def test_percentiles_keep_colours_and_take_any_type() -> None:
    image = (speckle((3, 20, 20), 0.3) + 0.1) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    done = FPTPercentileScale(0, 100, foreground=False)(image)
    expected = (image - image.min()) / (image.max() - image.min())
    torch.testing.assert_close(done, expected)
    torch.testing.assert_close(FPTPercentileScale(0, 100, False)(done), done)
    values = (image * 100).short()
    torch.testing.assert_close(FPTPercentileScale()(values), FPTPercentileScale()(values.float()))


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("value", [0.0, 7.0, -1000.0])
def test_a_constant_image_becomes_zeros(value: float, foreground: bool) -> None:
    done = FPTPercentileScale(foreground=foreground)(torch.full((3, 4, 5), value))
    assert torch.equal(done, torch.zeros(3, 4, 5))


def test_two_values_stay_apart_and_no_numbers_are_refused() -> None:
    mask = torch.zeros(1, 10, 10)
    mask[:, :3] = 5.0
    assert torch.equal(FPTPercentileScale()(mask), mask / 5)
    mask[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite numbers"):
        FPTPercentileScale()(mask)
    with pytest.raises(ValueError, match="must rise within"):
        FPTPercentileScale(90, 10)


def test_windows_become_channels_as_by_monais_linear_map() -> None:
    hu = torch.linspace(-1024, 3071, 600).view(1, 20, 30)
    done = FPTWindow(["lung", (40, 400), "bone"])(hu)
    ends = [(-1350, 150), (-160, 240), (-500, 1300)]
    expected = torch.cat([ScaleIntensityRange(low, high, 0, 1, clip=True)(hu) for low, high in ends])
    torch.testing.assert_close(done, expected.as_tensor() if hasattr(expected, "as_tensor") else expected)
    assert torch.equal(FPTWindow(["lung", (40, 400), "bone"])(hu[0]), done) and done.dtype == torch.float32
    assert torch.equal(FPTWindow("bone")(hu.short().float()), FPTWindow(["bone"])(hu.short()))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (torch.rand(1, 5, 5), "values in \\[0, 1\\], which are no HU"),
        (torch.zeros(3, 5, 5), "give a single channel, or use the option windows of FPTImageReader"),
        (torch.full((1, 5, 5), torch.nan), "finite numbers"),
    ],
    ids=["scaled", "three channels", "nan"],
)
def test_what_is_no_slice_in_hu_is_refused(image: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=f"FPTWindow: .*{reason}"):
        FPTWindow("lung")(image)


@pytest.mark.parametrize("windows", [[], "spleen", [(40, 0)]])
def test_impossible_windows_are_refused(windows: Any) -> None:
    with pytest.raises(ValueError, match="window"):
        FPTWindow(windows)
