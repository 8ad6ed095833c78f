"""Is an arm better than another, or is it chance? Test AUC of every arm and its difference to two others, with intervals.

Decisions:

- The AUC of an arm is the mean over its seeds of the AUC of each training. Predictions of seeds are not averaged: that would be an
  ensemble, which no one training is.
- A resample draws patients with replacement, the same for all arms (paired), and seeds of every arm with replacement too. So an interval
  says what another test set and other seeds would give: a method that a seed can break has a wide one. Of a few seeds it is rough, and
  the mean square between seeds is widened by n / (n - 1), for n drawn seeds vary by that much too little. An arm's seeds are drawn by
  its name: which other arms there are, and in what order, changes no interval.
- p is the share of resamples on the other side of 0, doubled, never 0. Of all arms compared with one, p is corrected by Holm's rule; an
  arm is called better or worse where its interval does not hold 0 and the corrected p is at most 1 - level.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from monai_fpt.compare.record import FPTArmRun
from monai_fpt.metrics.units import scored_units
from monai_fpt.report.measure import measured_summary
from monai_fpt.report.resample import is_stratified, resampled_weights
from monai_fpt.report.score import FPTScore, scores_of

__all__ = ["FPTArmDifference", "differences_to", "drawn_auc", "holm", "needed_resamples", "section_auc"]

_Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class FPTArmDifference:
    """Test AUC of an arm minus that of another.

    Attributes:
        score: with its interval.
        p_value: of this comparison alone; NaN where there is none.
        corrected: Holm's, over all arms compared with the same one.
        verdict: ``"better"``, ``"worse"`` or ``"no difference shown"``.
    """

    score: FPTScore
    p_value: float
    corrected: float
    verdict: str


def section_auc(run: FPTArmRun, section: str, aggregate: str | None) -> float:
    """AUC of a training on one section; of images, or of patients with ``aggregate``."""
    units = scored_units(run.predictions[section], aggregate=aggregate)
    return float(measured_summary(units, np.ones((1, len(units))))["auc"][0])


def drawn_auc(
    runs: Mapping[str, Sequence[FPTArmRun]], *, aggregate: str | None, bootstrap: int, seed: int
) -> tuple[dict[str, _Floats], bool]:
    """Test AUC of every arm, of the data set and of its resamples.

    Args:
        runs: arm to its trainings, all on the same test images in the same order.
        aggregate: ``"mean"`` or ``"max"`` of a patient's images; None counts images.
        bootstrap: number of resamples.
        seed: of the resamples.

    Returns:
        arm to (1 + bootstrap,), the first value the data set's own; and whether patients of rare classes were drawn among themselves.

    Raises:
        ValueError: the arms have judged different images.
    """
    first = next(iter(runs.values()))[0].predictions["test"]
    units = scored_units(first, aggregate=aggregate)
    parts = list(resampled_weights(units, bootstrap, seed))
    found = {}
    for arm, own in runs.items():
        by_seed = []
        for run in own:
            predictions = run.predictions["test"]
            if predictions.keys != first.keys or not np.array_equal(predictions.labels, first.labels):
                raise ValueError(
                    f'compare: the arm "{arm}" has judged other test images than the first; give another run_dir.'
                )
            counted = scored_units(predictions, aggregate=aggregate)
            by_seed.append(np.concatenate([measured_summary(counted, weights)["auc"] for weights in parts]))
        random = np.random.default_rng([seed, 104729, *arm.encode()])
        found[arm] = _over_seeds(np.stack(by_seed), random)
    return found, is_stratified(units)


def _over_seeds(values: _Floats, random: np.random.Generator) -> _Floats:
    """(S, 1 + B) -> (1 + B,): the mean, in resamples of drawn seeds."""
    seeds, count = values.shape
    mean = values.mean(axis=0)
    if seeds == 1:
        return np.asarray(mean)
    drawn = random.integers(seeds, size=(seeds, count))
    of_drawn = np.take_along_axis(values, drawn, axis=0).mean(axis=0)
    widened = mean + (of_drawn - mean) * math.sqrt(seeds / (seeds - 1))
    widened[0] = mean[0]
    return np.asarray(widened.clip(0, 1))


def differences_to(drawn: Mapping[str, _Floats], other: str, level: float) -> dict[str, FPTArmDifference]:
    """Every arm but ``other`` compared with it.

    Args:
        drawn: arm to its AUC, see :func:`drawn_auc`.
        other: the arm that is subtracted.
        level: of the intervals.
    """
    arms = [arm for arm in drawn if arm != other]
    scores, values = {}, {}
    for arm in arms:
        difference = drawn[arm] - drawn[other]
        scores[arm] = scores_of({"difference": difference}, level)["difference"]
        values[arm] = _p_value(difference[1:]) if not math.isnan(scores[arm].low) else math.nan
    corrected = dict(zip(arms, holm([values[arm] for arm in arms]), strict=True))
    return {
        arm: FPTArmDifference(scores[arm], values[arm], corrected[arm], _verdict(scores[arm], corrected[arm], level))
        for arm in arms
    }


def _p_value(resamples: _Floats) -> float:
    defined = resamples[~np.isnan(resamples)]
    least = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(defined) + 1))


def _verdict(score: FPTScore, p_value: float, level: float) -> str:
    if math.isnan(score.low) or score.low <= 0 <= score.high or not p_value <= 1 - level + 1e-12:
        return "no difference shown"
    return "better" if score.value > 0 else "worse"


def needed_resamples(comparisons: int, level: float) -> int:
    """So many resamples are needed for the smallest p, corrected for so many comparisons, to be able to show anything.

    Example:
        >>> needed_resamples(1, 0.95), needed_resamples(3, 0.95)
        (39, 119)
    """
    return math.ceil(2 * comparisons / (1 - level) - 1 - 1e-9)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, by Holm's rule; NaN stays and counts for nothing.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[i]))
        corrected[i] = largest
    return corrected
