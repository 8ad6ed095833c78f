"""Fixtures of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from compare_toys import CHEAP, draw_table, toy_overrides, write_table

from monai_fpt.compare import FPTArmComparison, run_comparison


@pytest.fixture(scope="session")
def toy_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare_images")
    return write_table(root / "labels.csv", draw_table(root))


@pytest.fixture(scope="session")
def token_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cache that the first comparison fills."""
    return tmp_path_factory.mktemp("compare_cache") / "features"


@pytest.fixture(scope="session")
def compared(
    toy_table: Path, token_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FPTArmComparison]:
    """A comparison of cheap arms, tracked."""
    folder = tmp_path_factory.mktemp("compared") / "run"
    overrides = toy_overrides(toy_table, folder, token_cache) | {
        "track": True,
        "system_metrics": False,
        "tokens": "all",
    }
    yield run_comparison(overrides, arms=CHEAP, seeds=(0, 1), bootstrap=200, quiet=True)
