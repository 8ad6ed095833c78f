"""What came of a training, in one sentence for the reader: both scores, how sure it is, and which images could not judge."""

from __future__ import annotations

import math

from monai_fpt.monailabel.training_compare import ENOUGH, FPTJudgement
from monai_fpt.monailabel.training_split import LabelSplit

__all__ = ["outcome_sentence"]


def outcome_sentence(
    version: int, metric: str, split: LabelSplit, challenger: float | None, judgement: FPTJudgement | None
) -> str:
    """What came of a training.

    Args:
        version: of the model that is present now.
        metric: that decided.
        split: who learned and who judged.
        challenger: score of the new model; None where nothing judged it.
        judgement: the comparison; None where there was no model to compare with.
    """
    images = len(split.validation)
    why = [
        f"{len(split.moved)} images were moved to training, as patients or copies were joined" if split.moved else "",
        f"{len(split.learned)} images do not judge, as a model has learned from them or from their patients"
        if split.learned
        else "",
    ]
    besides = f" ({'; '.join(filter(None, why))})" if any(why) else ""
    if judgement is None:
        told = f"its {metric} on {images} images that it did not learn from is {challenger or 0:.3f}"
        untold = "there are too few labels to judge it"
        return f"Version {version} is the first model; {untold if challenger is None else told}{besides}."
    if math.isnan(judgement.share):
        return f"The new model is not shown to be better and the present one stays: the {metric} is not defined on the {images} images{besides}."
    both = f"{metric} {judgement.challenger:.3f} against {judgement.present:.3f} on the same {images} images"
    drawn = "" if judgement.patients == images else f" of {judgement.patients} patients"
    both += f"{drawn}, better in {judgement.share:.0%} of {judgement.draws:,} resamples of them"
    if judgement.better:
        return f"Version {version} is published: {both}{besides}."
    if judgement.share >= ENOUGH:
        return (
            f"The new model is not shown to be better and the present one stays: {both}, but a class has a single patient among them, "
            f"which shows nothing; label more{besides}."
        )
    return f"The new model is not shown to be better and the present one stays: {both}, and {ENOUGH:.0%} are needed{besides}."
