"""The examples in the docstrings run: a module whose text holds one is run whole."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import monai_fpt

PACKAGE = Path(monai_fpt.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search(r">>> [^#](?!.*\+SKIP)", path.read_text(encoding="utf-8"))
]
OPTIONAL = {"monailabel", "nvflare"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in OPTIONAL:
            raise
        pytest.skip(f"{name} needs {package}")

    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)

    assert result.attempted > 0 and result.failed == 0
