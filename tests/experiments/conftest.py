"""Images and one cache, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment_toys import draw_images, small_overrides


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("experiment_images"))


@pytest.fixture(scope="session")
def toy_cache(toy_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds all images."""
    from monai_fpt.bundle import run_bundle

    cache = tmp_path_factory.mktemp("experiment_cache") / "features"
    wanted = small_overrides(toy_images, cache.parent / "run", cache)
    keys = ("dataset_dir", "cache_dir", "backbone", "backbone_weights", "image_size", "device")
    run_bundle("extract", {name: value for name, value in wanted.items() if name in keys or "#" in name})
    return cache
