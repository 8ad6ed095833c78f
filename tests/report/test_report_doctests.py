"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import monai_fpt.report

METRICS = ["calibration", "calibration_error", "operating", "units", "weighted"]
MODULES = [f"monai_fpt.report.{module.name}" for module in pkgutil.iter_modules(monai_fpt.report.__path__)]
MODULES += [f"monai_fpt.metrics.{name}" for name in METRICS]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert failed == 0
