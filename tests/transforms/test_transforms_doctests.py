"""The examples in the docstrings of the room run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import monai_fpt.transforms

MODULES = [f"monai_fpt.transforms.{m.name}" for m in pkgutil.iter_modules(monai_fpt.transforms.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=options)

    assert failed == 0
