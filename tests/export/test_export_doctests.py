"""The examples in the docstrings of the room run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import monai_fpt.export

MODULES = [
    "monai_fpt.export",
    *(f"monai_fpt.export.{m.name}" for m in pkgutil.iter_modules(monai_fpt.export.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert failed == 0
