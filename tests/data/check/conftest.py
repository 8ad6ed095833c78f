"""Fixtures: a clean data set, made once and copied."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from check_toys import ToySet


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> ToySet:
    return ToySet(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def toy_set(clean_set: ToySet, tmp_path: Path) -> ToySet:
    """A copy of its own, to be spoilt."""
    shutil.copytree(clean_set.root, tmp_path / "set")
    made = copy.copy(clean_set)
    made.root = tmp_path / "set"
    made.sections = {
        name: [item | {"image": str(made.root / item["key"])} for item in items]
        for name, items in clean_set.sections.items()
    }
    return made
