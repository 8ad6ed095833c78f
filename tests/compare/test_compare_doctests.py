"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["scoring", "counting", "indices", "differences"])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"monai_fpt.compare.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0
