"""Near duplicates are found among pictures that only look alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from check_toys import picture, save
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from monai_fpt.data.check import similar
from monai_fpt.data.check.probe import probe_image
from monai_fpt.data.check.similar import LEAST_CORRELATION, LEAST_IN_PARTS, similar_sets
from monai_fpt.data.facts import ImageOptions


def look(folder: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    path = save(folder / "look.png", pixels)
    return probe_image({"image": str(path), "key": "look"}, ImageOptions(), 128).look


def numbered(looks: npt.NDArray[np.uint8]) -> list[str]:
    return [str(index) for index in range(len(looks))]


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 80": lambda image: recompressed(image, 80),
    "jpeg 30": lambda image: recompressed(image, 30),
    "resized to 90 %": lambda image: image.resize((round(image.width * 0.9), round(image.height * 0.9))),
    "resized to a half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "squeezed to a square": lambda image: image.resize((256, 256)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "other gamma": lambda image: image.point(lambda value: int(255 * (value / 255) ** 0.8)),
    "grey": lambda image: image.convert("L"),
}


def disc(seed: int) -> npt.NDArray[np.uint8]:
    """A picture of 240 x 320 of which only a disc is seen, as in a fundus photograph."""
    texture = gaussian_filter(np.random.default_rng(seed).random((240, 320)), 6)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    y, x = np.mgrid[:240, :320]
    inside = (y - 120) ** 2 + (x - 160) ** 2 < 110**2
    grey = np.where(inside, 130 + 60 * texture, 2)
    return np.stack([grey, 0.6 * grey, 0.3 * grey], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_copy_changed_a_little_is_found_and_others_are_not(
    change: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    originals = [disc(seed) for seed in range(8)]
    copy = np.asarray(change(Image.fromarray(originals[3])))
    looks = np.stack([look(tmp_path, pixels) for pixels in [*originals, copy]])

    assert similar_sets(looks, numbered(looks)) == [[3, 8]]


@pytest.mark.parametrize(("value", "width"), [(0, 8), (0, 14), (255, 8)])
def test_different_pictures_in_one_frame_are_not_copies(value: int, width: int, tmp_path: Path) -> None:
    pictures = [picture(seed) for seed in range(30)]
    for pixels in pictures:
        pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:] = value, value, value, value
    looks = np.stack([look(tmp_path, pixels) for pixels in pictures])

    assert pairs_by_definition(looks, in_parts=False) != set()
    assert similar_sets(looks, numbered(looks)) == []


def smooth_looks(number: int) -> npt.NDArray[np.uint8]:
    """Random looks with some noisy copies among them, near and less near."""
    rng = np.random.default_rng(7)
    values = gaussian_filter(rng.random((number, 32, 32)), (0, 1.5, 1.5))
    values -= values.min(axis=(1, 2), keepdims=True)
    values *= 255 / values.max(axis=(1, 2), keepdims=True)
    for index in range(0, 60, 2):
        values[number - 1 - index] = values[index] + rng.normal(0, 0.25 * index, (32, 32))
    return values.clip(0, 255).astype(np.uint8)


def pairs_by_definition(looks: npt.NDArray[np.uint8], *, in_parts: bool = True) -> set[tuple[int, int]]:
    """Correlations of local contrast, with loops in place of filters."""
    padded = np.pad(looks.astype(np.float64), ((0, 0), (2, 2), (2, 2)), mode="edge")
    detail = looks - sum(padded[:, i : i + 32, j : j + 32] for i in range(5) for j in range(5)) / 25
    padded = np.pad(detail**2, ((0, 0), (2, 2), (2, 2)), mode="edge")
    spread = np.sqrt(sum(padded[:, i : i + 32, j : j + 32] for i in range(5) for j in range(5)) / 25)
    vectors = (detail / (spread + 8)).reshape(len(looks), -1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.nonzero(np.triu(vectors @ vectors.T, 1) >= LEAST_CORRELATION)
    return {
        (one, other)
        for one, other in zip(first.tolist(), second.tolist(), strict=True)
        if not in_parts or parts_that_differ(looks[one], looks[other]) <= 1
    }


def parts_that_differ(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    differing = 0
    for row in range(0, 32, 8):
        for column in range(0, 32, 8):
            a, b = (look[row : row + 8, column : column + 8].ravel() for look in (one, other))
            flat = max(a.std(), b.std()) <= 4
            differing += not flat and bool(np.corrcoef(a, b)[0, 1] < LEAST_IN_PARTS)
    return differing


@pytest.mark.parametrize("rows", [1024, 64], ids=["one product", "several products"])
def test_no_pair_is_lost_by_the_short_cut(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "_ROWS", rows)
    looks = smooth_looks(500)
    expected = pairs_by_definition(looks)

    assert 5 < len(expected) < 30
    assert similar_sets(looks, numbered(looks)) == sorted([list(pair) for pair in expected])


def test_sets_survive_merging_of_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = np.concatenate([smooth_looks(100)] * 3)
    whole = similar_sets(looks, numbered(looks))
    monkeypatch.setattr(similar, "_MOST_EDGES", 2)
    monkeypatch.setattr(similar, "_ROWS", 16)

    assert similar_sets(looks, numbered(looks)) == whole
    assert len(whole) > 50 and all(len(found) >= 3 for found in whole)


def test_images_of_one_name_are_not_compared() -> None:
    looks = np.concatenate([smooth_looks(70)[:5]] * 2)

    assert similar_sets(looks, ["a", "b", "c", "d", "e", "a", "x", "c", "y", "z"]) == [[1, 6], [3, 8], [4, 9]]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_looks_without_contrast_are_like_nothing(number: int) -> None:
    looks = np.full((number, 32, 32), 128, np.uint8)

    assert similar_sets(looks, numbered(looks)) == []


def test_pictures_of_the_toy_set_differ(tmp_path: Path) -> None:
    looks = np.stack([look(tmp_path, picture(seed)) for seed in range(64)])

    assert similar_sets(looks, numbered(looks)) == []
