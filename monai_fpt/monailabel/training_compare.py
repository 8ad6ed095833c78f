"""Is the new model shown to be better than the present one, on the same images?

Decisions:

- A higher score on a handful of images is luck as often as not. The patients who judge are drawn anew a thousand times, with both
  models' answers to their images, and the new model takes the place if its score is **higher in at least four fifths** of the draws. A
  large gain on few images passes; 1.000 against 1.000, or one pair of images in another order, does not.
- A draw in which both are equal counts as one in which the new model is not better. A draw that does not define the score (a class is
  not in it) counts for neither.
- Where a class has a single patient, every draw has that one again, and luck cannot be told from a gain: nothing is shown.
- One score decides, chosen beforehand. One that these images do not define is no reason to publish.
- Draws repeat by their seed: the same labels and models give the same answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from monai_fpt.metrics import classification_scores
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.report.measure import measured
from monai_fpt.report.resample import resampled_weights

__all__ = ["ENOUGH", "FPTJudgement", "judged", "score_of"]

ENOUGH = 0.8
_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class FPTJudgement:
    """What the judging images say of two models.

    Attributes:
        present: score of the present model.
        challenger: of the new one.
        share: of the draws in which the new model is better; NaN where no draw defines the score.
        draws: that define it.
        patients: who judged.
        fewest: patients of the class that has the fewest of those that occur; with several labels also of those without it.
    """

    present: float
    challenger: float
    share: float
    draws: int
    patients: int
    fewest: int

    @property
    def better(self) -> bool:
        """Whether the new model is shown to be better."""
        return self.share >= ENOUGH and self.fewest > 1


def judged(
    present: Tensor, challenger: Tensor, labels: Tensor, groups: Sequence[str], metric: str, seed: int = 0
) -> FPTJudgement:
    """Compare two models on the same images.

    Args:
        present: (N, K) logits of the present model.
        challenger: (N, K) of the new one.
        labels: (N,) class numbers, or (N, K) of 0 and 1 for several labels.
        groups: N names; images of one name are drawn together.
        metric: one of :data:`~monai_fpt.metrics.FPT_SCORES`.
        seed: of the draws.

    Example:
        >>> import torch
        >>> labels = torch.arange(8) % 2
        >>> wrong, right = torch.eye(2)[1 - labels], torch.eye(2)[labels]
        >>> judged(wrong, right, labels, "abcdefgh", "auc").better, judged(right, right, labels, "abcdefgh", "auc").better
        (True, False)
    """
    old, new = score_of(present, labels, metric), score_of(challenger, labels, metric)
    patients = len(set(groups))
    before, after = (_units(logits, labels, groups) for logits in (present, challenger))
    fewest = _fewest(before)
    if math.isnan(old) or math.isnan(new):
        return FPTJudgement(old, new, math.nan, 0, patients, fewest)
    wins = usable = 0
    for number, weights in enumerate(resampled_weights(before, _RESAMPLES, seed)):
        if number == 0:
            continue  # the images themselves
        first, second = (
            measured(units, weights, logits=logits.double().numpy(), calibrated=False)[metric]
            for units, logits in ((before, present), (after, challenger))
        )
        defined = ~(np.isnan(first) | np.isnan(second))
        usable += int(defined.sum())
        wins += int((second[defined] - first[defined] > 1e-9).sum())
    return FPTJudgement(old, new, wins / usable if usable else math.nan, usable, patients, fewest)


def score_of(logits: Tensor, labels: Tensor, metric: str) -> float:
    """One score of (N, K) logits; NaN where it is undefined."""
    probabilities, task = _probabilities(logits, labels)
    known = labels.long() if task == "multilabel" else labels
    return classification_scores(probabilities, known, task=task, logits=logits.double()).get(metric, math.nan)


def _probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, str]:
    wide = logits.double()
    return (wide.sigmoid(), "multilabel") if labels.ndim == 2 else (wide.softmax(dim=1), "multiclass")


def _fewest(units: FPTScoredUnits) -> int:
    marks = units.one_hot
    sides = [marks, ~marks] if units.task == "multilabel" else [marks]
    counts = [len(np.unique(units.patients[column])) for side in sides for column in side.T if column.any()]
    return min(counts, default=0)


def _units(logits: Tensor, labels: Tensor, groups: Sequence[str]) -> FPTScoredUnits:
    probabilities, task = _probabilities(logits, labels)
    matrix: npt.NDArray[np.float64] = probabilities.numpy()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return FPTScoredUnits(
        probabilities=matrix,
        calibrated=matrix,
        labels=labels.long().numpy(),
        patients=np.array([numbers[name] for name in groups], dtype=np.int64),
        members=tuple((row,) for row in range(len(matrix))),
        classes=tuple(str(number) for number in range(matrix.shape[1])),
        task=task,
        ordered=False,
    )
