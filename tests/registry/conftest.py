"""One training and one registry, shared by the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from registry_toys import draw_table, train_tiny


@pytest.fixture(autouse=True)
def _one_thread_and_no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "MONAI_FPT_BACKBONE", "MONAI_FPT_SERVE_ROOT", "MONAI_FPT_SERVE_MAX_MB"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
