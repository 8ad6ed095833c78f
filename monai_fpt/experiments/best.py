"""The best model of a search as a run folder of its own, and its one look at the test section."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from monai_fpt.bundle import run_bundle
from monai_fpt.experiments.recipe import FPTRecipe
from monai_fpt.features import FPTModelCard
from monai_fpt.report import FPTEvaluation, fpt_write_report

__all__ = ["leave_best"]

_KEPT = ("model.pt", "training.json", "validation_predictions.csv", "validation_predictions.json")


def leave_best(recipe: FPTRecipe, trial: Path) -> FPTEvaluation:
    """Copy a trial's model to ``best``, test it there by the bundle, and write its report.

    The folder's data list is the whole one, with the test section, so that the model can be registered with its test.

    Args:
        recipe: of the search.
        trial: run folder of the best trial.
    """
    folder = recipe.run_dir / "best"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    for name in _KEPT:
        shutil.copyfile(trial / name, folder / name)
    card = FPTModelCard.load(trial / "model.json")
    dataclasses.replace(card, data_digest=recipe.data.digest).save(folder / "model.json")
    recipe.data.save(folder / "data_list.json")
    value = recipe.parser().get_parsed_content
    aggregate = value("aggregate")
    run_bundle(
        "evaluate",
        {
            "run_dir": str(folder),
            "output_dir": str(folder),
            "dataset_dir": str(recipe.root),
            "cache_dir": str(recipe.store.path),
            "device": str(recipe.device),
            "aggregate": aggregate,
            "batch_size": value("batch_size"),
            "report": False,
            "track": False,
        },
    )
    shutil.copyfile(trial / "config.json", folder / "config.json")  # of the training, not of the test
    subgroups: Sequence[str] | None = value("subgroups") or None
    return fpt_write_report(folder, "test", aggregate=aggregate, subgroups=subgroups, quiet=True)
