"""What is loaded before a command has something to do."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import monai_fpt

ROOMS = [
    m.name for m in pkgutil.iter_modules(monai_fpt.__path__) if m.ispkg and m.name != "cli"
]  # which loads nothing itself
HEAVY = ("torch", "monai", "mlflow", "timm", "numpy", "pandas")


@pytest.mark.parametrize(
    "lines",
    ["import monai_fpt", "from monai_fpt.cli import app; app(['--help'], standalone_mode=False)"],
    ids=["the package", "the help"],
)
def test_neither_the_package_nor_the_help_waits_for_what_they_do_not_need(lines: str) -> None:
    code = f"{lines}\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules), sep=',')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_repairs_torchvision_before_it_imports_anything_else(room: str) -> None:
    tree = ast.parse(Path(monai_fpt.__path__[0], room, "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next(node for node in imports if getattr(node, "module", None) != "__future__")

    assert ast.unparse(first) == "import monai_fpt._torchvision"


@pytest.mark.slow
def test_torchvision_is_importable_behind_a_room() -> None:
    code = "import monai_fpt.networks, torchvision; print(torchvision.__version__)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
