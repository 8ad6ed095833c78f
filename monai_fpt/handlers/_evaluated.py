"""What was evaluated with weights that a run's folder no longer has.

Predictions, calibration and report in the folder of a run are of the weights that it had then. When a training that goes on there finds
better weights, they are moved to ``before_resume`` first, so that a training that is killed leaves none that look like its own. A training
that is refused, or finds no better weights, moves nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SET_ASIDE", "set_aside"]

SET_ASIDE = "before_resume"
_SECTIONS = ("training", "validation", "test")
_OF_WEIGHTS = (
    "calibration.json",
    *(
        f"report{section}.{suffix}"
        for section in ("", *(f"_{one}" for one in _SECTIONS))
        for suffix in ("html", "json")
    ),
    *(f"{section}_predictions.{suffix}" for section in _SECTIONS for suffix in ("csv", "json")),
    *(f"{section}_patients.csv" for section in _SECTIONS),
)


def set_aside(folder: Path) -> None:
    """Move what was evaluated with the weights of before; the newest of each name is kept."""
    stale = [folder / name for name in _OF_WEIGHTS if (folder / name).is_file()]
    for path in stale:
        (folder / SET_ASIDE).mkdir(exist_ok=True)
        os.replace(path, folder / SET_ASIDE / path.name)
    if stale:
        print(f"Predictions and reports of the weights before are now in {folder / SET_ASIDE}.", flush=True)
