"""The examples in the docstrings of the data sets run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from monai_fpt.data import datasets

MODULES = [m.name for m in pkgutil.iter_modules(datasets.__path__, f"{datasets.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
