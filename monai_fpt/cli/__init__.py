"""The short commands. Each is a few lines over the bundle or the API; every id of the bundle's configuration is an
option of its command.
"""

from __future__ import annotations

import os
import sys

import typer

# each adds its commands, in the order that the help lists them
# isort: off
from monai_fpt.cli.app import app
from monai_fpt.cli import train, experiments, models, data  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; what a user can mend is one sentence and exit code 1."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a wrong option: typer's own exceptions
            error.show()
            sys.exit(error.exit_code)
        from monai_fpt.handlers import fpt_root_cause

        cause = fpt_root_cause(error)
        if cause is None or os.environ.get("MONAI_FPT_DEBUG"):
            raise
        print(f"error: {cause}", file=sys.stderr)
        code = 1
    if code == 130:
        print("interrupted; the same command goes on (with --resume true once an epoch is finished).", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)
