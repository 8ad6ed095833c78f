"""Where a run came from: versions of what matters, and the state of the working directory in git."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from monai_fpt._version import __version__

__all__ = ["provenance_tags"]

PACKAGES = ("torch", "monai", "timm", "mlflow")
GIT_SECONDS = 10


def provenance_tags() -> dict[str, str]:
    """Tags ``version.<package>``, the program, and in a git checkout ``mlflow.source.git.commit`` and ``git_dirty``."""
    tags = {"version.python": platform.python_version(), "version.monai_fpt": __version__}
    if program := _program():
        tags |= {"mlflow.source.name": program, "mlflow.source.type": "LOCAL"}
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        changes = _git("status", "--porcelain", "--untracked-files=no")
        tags["git_dirty"] = "unknown" if changes is None else str(bool(changes)).lower()
    return tags


def _program() -> str:
    """What was started, as MLflow's page shows it: a module, or a file without its folder; empty where Python was asked directly."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    name = Path(sys.argv[0] if sys.argv else "").name
    return "" if name in ("-", "-c") else name


def _git(*arguments: str) -> str | None:
    """What git prints in the working directory; ``None`` without git, checkout or commit."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # looking must not write an index
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
