"""One tiny model for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_toys import tiny_run


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a tiny network."""
    return tiny_run(tmp_path_factory.mktemp("monailabel") / "run")
