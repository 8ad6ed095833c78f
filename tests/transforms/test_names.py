"""No function or class of the rooms data and transforms has a name that MONAI's component table knows already."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter

import monai
import pytest
from monai.bundle.config_item import ComponentLocator


def defined_names(package: str) -> list[str]:
    """Public and private functions and classes of a package's modules."""
    root = importlib.import_module(package)
    names = []
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        module = importlib.import_module(info.name)
        names += [
            name
            for name, thing in vars(module).items()
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == info.name
        ]
    return names


@pytest.mark.parametrize("package", ["monai_fpt.data", "monai_fpt.transforms"])
def test_names_are_known_to_us_alone(package: str) -> None:
    locator = ComponentLocator()
    assert monai.transforms.LoadImage  # MONAI's modules are all loaded
    names = defined_names(package)
    assert len(names) > 5
    for name in set(names):
        modules = locator.get_component_module_name(name)
        found = [modules] if isinstance(modules, str) else list(modules or [])
        foreign = [module for module in found if not module.startswith("monai_fpt.")]
        assert foreign == [], f"{name} is a name of MONAI too: {foreign}"


def test_no_name_is_defined_twice_in_our_rooms() -> None:
    counts = Counter(set(defined_names("monai_fpt.data"))) + Counter(set(defined_names("monai_fpt.transforms")))
    names = [*defined_names("monai_fpt.data"), *set(defined_names("monai_fpt.transforms"))]
    repeated = {name for name, count in Counter(names).items() if count > 1} | {n for n, c in counts.items() if c > 1}
    assert repeated == set()
