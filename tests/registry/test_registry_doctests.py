"""The examples in the docstrings of the room run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import monai_fpt.registry

MODULES = [
    "monai_fpt.registry",
    *(f"monai_fpt.registry.{m.name}" for m in pkgutil.iter_modules(monai_fpt.registry.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert failed == 0
