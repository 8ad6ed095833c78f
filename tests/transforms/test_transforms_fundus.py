"""Circle mask and Graham's contrast against numpy and scipy; real fundus photographs where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from transform_phantoms import fundus_phantom, speckle

from monai_fpt.data import load_medical_image
from monai_fpt.transforms import FPTBenGraham, FPTCircleMask, FPTFundusCrop

PHOTOGRAPHS = sorted(
    Path(os.environ.get("MONAI_FPT_TEST_DATA", "/nowhere"), "fundus_unlabelled", "images").glob("*.jpg")
)


@pytest.mark.parametrize("shape", [(30, 30), (31, 44), (44, 31)])
def test_the_circle_has_its_area_and_spares_the_inside(shape: tuple[int, int]) -> None:
    masked = FPTCircleMask(radius=0.8, fill=0.25)(torch.ones(3, *shape))
    radius = 0.8 * max(shape) / 2
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) <= radius
    assert np.array_equal(masked[1].numpy(), np.where(inside, 1, 0.25).astype(np.float32))
    if shape[0] == shape[1]:
        assert inside.sum() == pytest.approx(np.pi * radius**2, rel=0.02)


def test_masking_twice_is_masking_once_and_a_cut_disc_keeps_all_it_has() -> None:
    disc = FPTFundusCrop()(fundus_phantom(radius=50))
    once = FPTCircleMask()(disc)
    assert torch.equal(FPTCircleMask()(once), once)
    rows, columns = np.mgrid[:90, :99]
    bright = torch.from_numpy(np.hypot(rows - 44.5, columns - 49) <= 49)  # but for the half pixel of the rim
    assert torch.equal(once[:, bright], disc[:, bright])


@pytest.mark.parametrize(
    ("sigma", "tolerance"), [(1 / 30, 1e-6), (0.25, 0.01)], ids=["exact", "wide, on a reduced image"]
)
def test_grahams_contrast_is_the_formula(sigma: float, tolerance: float) -> None:
    image = speckle((3, 97, 120), 0.3) + torch.linspace(0, 0.6, 120)
    width = sigma * 120
    blurred = np.stack([gaussian_filter(plane.astype(np.float64), width) for plane in image.numpy()])
    expected = np.clip(4 * image.numpy() - 4 * blurred + 0.5, 0, 1)
    done = FPTBenGraham(sigma=sigma, radius=1.5)(image)
    np.testing.assert_allclose(done.numpy(), expected, atol=4 * tolerance)
    assert done.dtype == torch.float32 and float(done.std()) > 0.05


def test_grahams_contrast_takes_the_light_away_and_masks_the_edge() -> None:
    pattern = speckle((1, 120, 120), 0.1)
    light = torch.linspace(0.2, 0.7, 120)
    done = FPTBenGraham()(pattern + light)
    middle = done[0, 40:80]
    assert abs(float(middle[:, 30:50].mean() - middle[:, 70:90].mean())) < 0.02
    assert done[0, 0, 0] == done[0, -1, -1] == 0.5
    assert torch.equal(FPTBenGraham()(torch.full((3, 20, 20), 0.3)), torch.full((3, 20, 20), 0.5))


@pytest.mark.skipif(not PHOTOGRAPHS, reason="needs real images: set MONAI_FPT_TEST_DATA")
def test_real_photographs_are_found_again_in_a_wide_noisy_frame() -> None:
    photograph = load_medical_image(PHOTOGRAPHS[0])[:, ::4, ::4]
    height, width = photograph.shape[1:]
    framed = speckle((3, height + 90, width + 260), 0.04)
    framed[:, 40 : 40 + height, 100 : 100 + width] = photograph
    box = FPTFundusCrop().find_box(framed)
    assert np.abs(np.array(box) - [40, 40 + height, 100, 100 + width]).max() <= 4
    assert FPTFundusCrop()(photograph).shape[1:] == pytest.approx((height, width), abs=4)
    assert 0.4 < float(FPTBenGraham()(photograph).mean()) < 0.6
