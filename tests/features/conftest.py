"""Fixtures of the features' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from feature_toys import Toy, make_items


@pytest.fixture(autouse=True)
def _one_seed_and_no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    torch.manual_seed(0)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    """Six images."""
    return make_items(tmp_path / "images", [f"p{i}/scan.raw" for i in range(6)])
