"""No function or class of the package, public or private, has a name that MONAI's component table knows already.

MONAI's component locator scans every module whose name begins with ``monai``, ours too; an equal name would be ambiguous in a bundle's
configuration, and MONAI's would win.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import monai
import pytest
from monai.bundle.config_item import ComponentLocator

import monai_fpt

MODULES = [m.name for m in pkgutil.walk_packages(monai_fpt.__path__, "monai_fpt.") if not m.name.endswith("__main__")]


@pytest.fixture(scope="module")
def monai_names() -> set[str]:
    assert monai.transforms.LoadImage  # MONAI's modules are all loaded
    locator = ComponentLocator(excludes=["monai_fpt"])
    return set(locator._find_classes_or_functions(locator._find_module_names()))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_s_own_names_are_unknown_to_monai(name: str, monai_names: set[str]) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "monailabel":
            raise
        pytest.skip("needs MONAI Label's own environment, see docs/monailabel.md")
    own = {
        key
        for key, item in inspect.getmembers(module)
        if (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == name
    }
    assert len(monai_names) > 500
    assert own & monai_names == set()
