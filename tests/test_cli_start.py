"""What is loaded before a command has something to do."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

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


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_each_room_makes_torchvision_importable(room: str) -> None:
    code = f"import monai_fpt.{room}, torchvision; print(torchvision.__version__)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
