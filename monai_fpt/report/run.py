"""The report of a bundle's run: written beside its predictions, its scores and its page in the tracking store.

What goes to the store holds no picture of a patient and no key of an image; the page in the run's folder holds small
pictures of the worst errors, unless they are not wanted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.data.facts import ImageOptions
from monai_fpt.features import FeatureDataset
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.networks import FPTClassifier
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.heat import fpt_heat_maps
from monai_fpt.report.pictures import fpt_thumbnails
from monai_fpt.report.save import fpt_write_report, save_report

__all__ = ["fpt_report_run"]


def fpt_report_run(
    folder: str | Path,
    section: str,
    *,
    run_dir: str | Path,
    dataset: FeatureDataset,
    network: FPTClassifier,
    options: ImageOptions,
    load: Callable[[dict[str, Any]], Any],
    tracker: Any = None,
    aggregate: str | None = None,
    subgroups: Sequence[str] | None = None,
    pictures: bool = True,
    enabled: bool = True,
) -> FPTEvaluation | None:
    """Write the report of one evaluation, in the first of several processes.

    Args:
        folder: with ``<section>_predictions.json``.
        section: that was evaluated.
        run_dir: of the training.
        dataset: that was evaluated.
        network: that was evaluated.
        options: how files become pixels.
        load: reads an image and prepares it, without the resize to a square.
        tracker: an ``FPTTracker``; gets the scores with the ends of their intervals, and the report without pictures.
        aggregate: patients instead of images, ``"mean"`` or ``"max"``.
        subgroups: names of facts; None takes all that the images have.
        pictures: show the worst errors, with heat maps, on the page in ``folder``.
        enabled: False does nothing.

    Returns:
        the evaluation; None where nothing was done.

    Raises:
        ValueError: predictions that cannot be used.
        OSError: a file cannot be written.
    """
    source = Path(folder) / f"{section}_predictions.json"
    if not enabled or int(os.environ.get("RANK", 0)) != 0 or not source.is_file():
        return None
    with_heat = pictures and dataset.use_features
    evaluation = fpt_write_report(
        folder,
        section,
        run_dir=run_dir,
        aggregate=aggregate,
        subgroups=subgroups or None,
        pictures=fpt_thumbnails(dataset.data, options, load=load if with_heat else None) if pictures else None,
        heat_maps=fpt_heat_maps(dataset, network, load) if with_heat else None,
    )
    if tracker is not None:
        tracker.log_metrics({f"{section}/{name}": value for name, value in _tracked(evaluation).items()})
        with tempfile.TemporaryDirectory() as place:
            for name in ("report.html", "report.json"):
                save_report(evaluation, FPTPredictions.load(source), Path(place) / name)
                tracker.log_artifact(Path(place) / name, f"report_{section}")
    return evaluation


def _tracked(evaluation: FPTEvaluation) -> dict[str, float]:
    """The scores with the ends of their intervals; of operating points and single classes the values alone, for a run's page stays readable."""
    return {
        name: value
        for name, value in evaluation.metrics().items()
        if not (name.endswith(("_low", "_high")) and "/" in name)
    }
