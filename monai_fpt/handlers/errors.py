"""What a user reads when something is wrong: our sentence, not the forty lines of a bundle that wrap it.

MONAI's bundle wraps every exception of a component several times, and the last line of its traceback names the
component, not the cause. Errors that a user can mend are raised in this package as sentences; this hook prints the
sentence alone. Anything else keeps its full traceback, and ``MONAI_FPT_DEBUG=1`` keeps it always.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

__all__ = ["fpt_clear_errors", "fpt_root_cause"]

_MENDABLE = (ValueError, OSError, RuntimeError)


def fpt_root_cause(error: BaseException) -> BaseException | None:
    """The error of this package that a chain of wrapping exceptions began with, or None if it began elsewhere.

    Args:
        error: the outermost exception.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    for candidate in reversed(chain):
        frames = traceback.extract_tb(candidate.__traceback__)
        ours = bool(frames) and f"{os.sep}monai_fpt{os.sep}" in frames[-1].filename
        if ours and isinstance(candidate, _MENDABLE) and type(candidate).__name__ != "KeyError":
            return candidate
    return None


def fpt_clear_errors() -> None:
    """Install the hook in this process; a hook that was there before is called for all other exceptions."""
    previous = sys.excepthook
    if getattr(previous, "_monai_fpt", False) or os.environ.get("MONAI_FPT_DEBUG"):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = fpt_root_cause(error)
        if cause is not None:
            print(f"error: {cause}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            print(
                "interrupted; run the same command again to go on (with --resume true once an epoch is finished).",
                file=sys.stderr,
            )
        else:
            previous(kind, error, trace)

    hook._monai_fpt = True  # type: ignore[attr-defined]
    sys.excepthook = hook
