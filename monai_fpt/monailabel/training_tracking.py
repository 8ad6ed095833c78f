"""One retraining, one MLflow run.

MLflow is told when all is over; a published model answers already then, for a tracking store may be slow or away. Told are
numbers, class names and digests. Ids of images, patients, readers, and reasons that name files, are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.handlers import FPTTracker
from monai_fpt.monailabel.training_options import FPTRetraining, FPTRetrainOptions

__all__ = ["TRAININGS_FOLDER", "track_retraining"]

TRAININGS_FOLDER = "trainings"


def track_retraining(
    model_dir: Path,
    name: str,
    options: FPTRetrainOptions,
    facts: Mapping[str, Any],
    losses: Sequence[float],
    digest: str,
    outcome: FPTRetraining | None,
    error: BaseException | None,
    *,
    tracking_uri: str,
    experiment: str,
) -> None:
    """Record a retraining. Never raises because of the store: what cannot be sent waits in the folder of the run.

    Args:
        model_dir: the app's model folder; the run's own folder is made in it.
        name: of the training and of the run.
        options: how it was done.
        facts: numbers of images and labels; of ``refused`` only how many.
        losses: of the epochs.
        digest: of the label table.
        outcome: what came of it; None where it failed.
        error: why it ended early, if it did; ``KeyboardInterrupt`` where somebody stopped it.
        tracking_uri: the store.
        experiment: name of the MLflow experiment.
    """
    told = {k: v for k, v in facts.items() if k != "refused"} | {"refused": len(facts["refused"])}
    chosen = dataclasses.asdict(options)
    tracker = FPTTracker(
        model_dir / TRAININGS_FOLDER / name,
        experiment=experiment,
        run_name=name,
        tracking_uri=tracking_uri,
        params={**chosen.pop("fit"), **chosen, **told, "start": outcome.start if outcome else ""},
        tags={"monai_fpt.task": "label", "label_digest": digest},
        system_metrics=False,
    )
    for epoch, loss in enumerate(losses, start=1):
        tracker.log_metrics({"train_loss": loss}, step=epoch)
    if outcome is not None:
        scores = {f"val_{options.metric}": outcome.challenger, f"val_{options.metric}_present": outcome.present}
        scores["val_better_in"] = outcome.better_in
        known = {key: value for key, value in scores.items() if value is not None}
        tracker.log_metrics({**known, "seconds": outcome.seconds}, step=len(losses))
        tracker.set_tags({"published": outcome.published, "version": outcome.version})
    if error is None:
        tracker.close()
    else:
        tracker.fail(error)
