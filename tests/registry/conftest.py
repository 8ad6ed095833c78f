"""One training and one registry, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_toys import draw_table, train_tiny


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MONAI_FPT_BACKBONE", "MONAI_FPT_SERVE_ROOT", "MONAI_FPT_SERVE_MAX_MB"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_table(tmp_path_factory.mktemp("registry") / "images")


@pytest.fixture(scope="session")
def toy_run(toy_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run_dir of a finished training."""
    return train_tiny(toy_images, tmp_path_factory.mktemp("registry") / "run")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite registry; a fresh one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
