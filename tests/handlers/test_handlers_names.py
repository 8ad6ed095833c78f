"""No name of this room is a MONAI component: MONAI looks short names up in every module called "monai..."."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from monai.bundle.config_item import ComponentLocator

import monai_fpt.handlers as room


def test_no_name_of_ours_is_one_of_monai() -> None:
    modules = [m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
    ours = {
        name
        for module in modules
        for name, item in inspect.getmembers(importlib.import_module(module))
        if (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == module
    }
    locator = ComponentLocator(excludes=["monai_fpt"])
    theirs = set(locator._find_classes_or_functions(locator._find_module_names()))
    assert ours and len(theirs) > 500
    assert not ours & theirs
