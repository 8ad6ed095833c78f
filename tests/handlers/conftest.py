"""Fixtures of the handlers' tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy_training import Toy, make_toy


@pytest.fixture
def toy() -> Callable[..., Toy]:
    """Makes a small training in a folder, every object anew."""
    return make_toy
