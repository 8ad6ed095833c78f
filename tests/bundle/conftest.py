"""One training of the bundle on a tiny data set, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_toys import draw_images, tiny_overrides


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run_dir of a finished, tracked training."""
    from monai_fpt.bundle import run_bundle

    run_dir = tmp_path_factory.mktemp("trained") / "run"
    run_bundle("train", tiny_overrides(images, run_dir))
    return run_dir
