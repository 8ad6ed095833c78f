"""The quickstart's pictures: the same every time, balanced, and silent about their class in a small view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_fpt.networks import resize_image
from monai_fpt.quickstart.images import (
    CLASS_NAMES,
    SCENES_PER_SPLIT,
    draw_twins,
    generate_quickstart_images,
    quickstart_scene,
)

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def twins() -> list[tuple[Pixels, Pixels]]:
    return [draw_twins(np.random.default_rng([5, 0, scene])) for scene in range(32)]


def small_view(pixels: Pixels, size: int) -> NDArray[np.float32]:
    """(3, size, size) grey levels, rounded to whole ones as a cached thumbnail is."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    small: NDArray[np.float32] = resize_image(image, size)[0].round().numpy()
    return small


def statistics(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a small network could pool: mean, contrast, blur and extremes of each channel."""
    x = image.reshape(3, -1)
    laplacian = (
        4 * image[:, 1:-1, 1:-1] - image[:, :-2, 1:-1] - image[:, 2:, 1:-1] - image[:, 1:-1, :-2] - image[:, 1:-1, 2:]
    )
    parts = [
        x.mean(1),
        x.std(1),
        np.abs(laplacian).mean((1, 2)),
        laplacian.std((1, 2)),
        (laplacian**4).mean((1, 2)),
        x.min(1),
        x.max(1),
    ]
    return np.concatenate(parts)


def test_files_lie_in_one_folder_a_class_and_classes_are_equally_many(tmp_path: Path) -> None:
    counts = generate_quickstart_images(tmp_path, scenes={"train": 3, "val": 1, "test": 2}, size=192)
    assert counts == {"train": 6, "val": 2, "test": 4}
    for split, number in counts.items():
        assert {d.name for d in (tmp_path / split).iterdir()} == set(CLASS_NAMES)
        assert all(len(list((tmp_path / split / name).glob("*.png"))) == number // 2 for name in CLASS_NAMES)


def test_the_same_seed_gives_the_same_files_whatever_the_number_of_scenes(tmp_path: Path) -> None:
    for run, number in (("a", 1), ("b", 2)):
        generate_quickstart_images(tmp_path / run, seed=3, scenes={"train": number}, size=192)
    generate_quickstart_images(tmp_path / "c", seed=4, scenes={"train": 1}, size=192)
    read = {run: (tmp_path / run / "train/specks/scene_000.png").read_bytes() for run in "abc"}
    assert read["a"] == read["b"] != read["c"]


def test_scenes_of_different_splits_differ(tmp_path: Path) -> None:
    generate_quickstart_images(tmp_path, scenes={"train": 1, "val": 1}, size=192)
    train, val = (np.asarray(Image.open(tmp_path / split / "fibres/scene_000.png")) for split in ("train", "val"))
    assert not np.array_equal(train, val)


def test_the_sign_of_a_file_lies_where_its_twin_differs(tmp_path: Path) -> None:
    generate_quickstart_images(tmp_path, seed=7, scenes={"train": 1, "val": 2}, size=192)
    fibres, specks = (
        np.asarray(Image.open(tmp_path / "val" / name / "scene_001.png")).astype(int) for name in CLASS_NAMES
    )
    scene = quickstart_scene("val", 1, seed=7, size=192)
    np.testing.assert_array_equal(scene.fibres, fibres)
    np.testing.assert_array_equal(scene.specks, specks)
    difference = np.abs(fibres - specks).max(2)
    assert difference[scene.strength == 0].max() == 0
    assert difference[scene.strength > 0.5].mean() > 5 > difference[scene.strength < 0.2].mean()
    assert 0.05 < (scene.strength > 0.5).mean() < 0.3


def test_an_unknown_split_has_no_scene() -> None:
    with pytest.raises(ValueError, match="split='tset' is not one of train, val, test"):
        quickstart_scene("tset", 0)


def test_a_size_too_small_for_the_patches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size=100 is too small"):
        generate_quickstart_images(tmp_path, size=100)


def test_the_test_split_gives_the_auc_a_small_standard_error() -> None:
    positives = SCENES_PER_SPLIT["test"]
    auc = 0.9  # Hanley and McNeil (1982), equal numbers of both classes
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (positives - 1) * (q1 + q2 - 2 * auc**2)) / positives**2
    assert variance**0.5 < 0.04


def test_nothing_is_clipped(twins: list[tuple[Pixels, Pixels]]) -> None:
    assert min(int(image.min()) for pair in twins for image in pair) > 0
    assert max(int(image.max()) for pair in twins for image in pair) < 255


def test_twins_have_the_same_energy_at_full_size_but_other_extremes(twins: list[tuple[Pixels, Pixels]]) -> None:
    def moment(pixels: Pixels, power: int) -> float:
        luminance = pixels.astype(np.float64).mean(2)
        fine = luminance - np.asarray(
            Image.fromarray(luminance.astype(np.float32)).reduce(4).resize(luminance.shape, Image.Resampling.BICUBIC)
        )
        return float((fine**power).mean())

    energy = np.array([[moment(image, 2) for image in pair] for pair in twins])
    np.testing.assert_allclose(energy[:, 0], energy[:, 1], rtol=0.05)
    peaks = np.array([[moment(image, 4) for image in pair] for pair in twins])
    assert (peaks[:, 1] > 1.5 * peaks[:, 0]).all()


@pytest.mark.parametrize("size", [128, 160])
def test_small_views_of_twins_are_all_but_equal(twins: list[tuple[Pixels, Pixels]], size: int) -> None:
    differences = [small_view(fibres, size) - small_view(specks, size) for fibres, specks in twins]
    assert max(float(np.abs(d).max()) for d in differences) <= 3
    assert max(float(np.sqrt((d**2).mean())) for d in differences) < 0.25


@pytest.mark.parametrize("size", [128, 160])
def test_statistics_of_small_views_do_not_tell_the_class(twins: list[tuple[Pixels, Pixels]], size: int) -> None:
    features = np.array([statistics(small_view(image, size)) for pair in twins for image in pair])
    labels = np.tile([0, 1], len(twins))
    half = len(labels) // 2  # whole scenes on either side
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[:half], labels[:half])
    auc = roc_auc_score(labels[half:], model.predict_proba(features[half:])[:, 1])
    assert 0.35 < auc < 0.65
