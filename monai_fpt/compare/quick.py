"""The whole harness in half a minute, for those who want to see a page before they give it images, and for tests: few of the quickstart's
drawn images, its own small backbone, arms that cost little. Its numbers say nothing about any method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.compare.comparison import FPTArmComparison
from monai_fpt.compare.run import run_comparison
from monai_fpt.quickstart.images import generate_quickstart_images
from monai_fpt.quickstart.run import quickstart_overrides

__all__ = ["QUICK_ARMS", "quick_overrides", "run_quick_comparison"]

QUICK_ARMS = ("fpt_plus", "side_only", "knn", "logistic_regression")
_SCENES: Mapping[str, int] = {"train": 16, "val": 8, "test": 12}  # twins of each


def quick_overrides(folder: Path, scenes: Mapping[str, int] = _SCENES) -> dict[str, Any]:
    """Draw the images where they are not drawn yet, and give the settings.

    Args:
        folder: gets ``images``, ``features`` and ``comparison``.
        scenes: how many pairs of images a section has.
    """
    if not (folder / "images").exists():
        generate_quickstart_images(folder / "images", scenes=scenes)
    settings = quickstart_overrides(folder)
    return settings | {"run_dir": str(folder / "comparison"), "max_epochs": 4, "report": False, "system_metrics": False}


def run_quick_comparison(
    folder: str | Path,
    seeds: Sequence[int] = (0, 1),
    arms: str | Sequence[str] = QUICK_ARMS,
    quiet: bool = False,
) -> FPTArmComparison:
    """Compare on drawn images.

    Args:
        folder: gets everything; run again, it goes on.
        seeds: of the trainings.
        arms: as of :func:`~monai_fpt.compare.run_comparison`.
        quiet: print nothing.
    """
    return run_comparison(quick_overrides(Path(folder).absolute()), arms=arms, seeds=seeds, quiet=quiet)
