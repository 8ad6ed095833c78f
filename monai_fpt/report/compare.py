"""compare_predictions: is the challenger better than the champion, or is it chance? Both answer the same images.

Decisions:

* The same resamples of patients are drawn for both, so that what is hard for both cancels out; the interval is that of the
  difference, which is narrower than two intervals suggest.
* A difference is real where its interval does not hold 0. The p-value is the share of resamples on the other side of 0, doubled,
  and never 0: with B resamples at least 1 / (B + 1).
* One score decides, chosen beforehand (``primary``); among many, some differ by chance.
* Images that only one of them has judged, or that have another label or patient there, are an error and not left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits, scored_units
from monai_fpt.report.measure import LOWER_IS_BETTER, measured
from monai_fpt.report.resample import is_stratified, resampled_weights
from monai_fpt.report.score import FPTScore, plain_number, scores_of

__all__ = ["FPTComparison", "FPTDifference", "compare_predictions"]


@dataclasses.dataclass(frozen=True)
class FPTDifference:
    """One score of both.

    Attributes:
        champion: value of the champion.
        challenger: value of the challenger.
        difference: challenger minus champion, with its interval.
        p_value: two-sided; NaN where there are no resamples.
        verdict: ``"better"`` or ``"worse"`` (of the challenger) where the interval does not hold 0, else ``"no difference shown"``.
    """

    champion: float
    challenger: float
    difference: FPTScore
    p_value: float
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON can hold it."""
        numbers = {name: plain_number(getattr(self, name)) for name in ("champion", "challenger", "p_value")}
        return {**numbers, "difference": self.difference.to_dict(), "verdict": self.verdict}


@dataclasses.dataclass(frozen=True)
class FPTComparison:
    """What a comparison says.

    Attributes:
        primary: the score that decides.
        differences: by score.
        images: number of images.
        patients: number of patients.
        aggregate: how images of a patient were put together; None counts images.
        level: of the intervals.
        bootstrap: number of resamples.
        seed: of the resamples.
        stratified: whether patients of rare classes were drawn among themselves.
    """

    primary: str
    differences: Mapping[str, FPTDifference]
    images: int
    patients: int
    aggregate: str | None
    level: float
    bootstrap: int
    seed: int
    stratified: bool

    @property
    def verdict(self) -> str:
        """That of the primary score: ``"better"``, ``"worse"`` or ``"no difference shown"``."""
        return self.differences[self.primary].verdict

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["differences"] = {name: one.to_dict() for name, one in self.differences.items()}
        return content | {"verdict": self.verdict}

    def __str__(self) -> str:
        lines = [
            f"Champion and challenger on the same {self.images:,} images of {self.patients:,} patients "
            f"({self.level:.0%} intervals of the difference, {self.bootstrap:,} resamples of patients)",
            f"{'score':<20}{'champion':>10}{'challenger':>12}{'difference':>12}   {'interval':<18}{'p':>7}   challenger is",
        ]
        for name, one in self.differences.items():
            p = "-" if np.isnan(one.p_value) else f"{one.p_value:.3f}"
            interval = one.difference.interval or "-"
            lines.append(
                f"{name:<20}{one.champion:>10.3f}{one.challenger:>12.3f}{one.difference.value:>+12.3f}   {interval:<18}{p:>7}   "
                f"{one.verdict}"
            )
        said = {"better": "better than", "worse": "worse than"}.get(self.verdict, "not shown to differ from")
        return "\n".join([*lines, f"By {self.primary}, chosen beforehand, the challenger is {said} the champion."])


def compare_predictions(
    champion: FPTPredictions,
    challenger: FPTPredictions,
    *,
    primary: str = "auc",
    aggregate: str | None = None,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> FPTComparison:
    """Compare two networks on the same images.

    Args:
        champion: predictions of one network.
        challenger: of the other, for the same images in any order.
        primary: the score that decides.
        aggregate: ``"mean"`` or ``"max"`` of a patient's images; None counts images.
        bootstrap: number of resamples.
        level: of the intervals, between 0 and 1.
        seed: of the resamples.

    Raises:
        ValueError: the two are not about the same images, labels, patients and classes; the primary score is unknown or undefined;
            or an option that cannot be.
    """
    if bootstrap < 1 or not 0 < level < 1:
        raise ValueError(
            f"comparison: bootstrap={bootstrap} must be at least 1 and level={level} between 0 and 1; correct them."
        )
    rows = _matching_rows(champion, challenger)
    pair = [scored_units(one, aggregate=aggregate) for one in (champion, challenger.subset(rows))]
    drawn: list[list[dict[str, npt.NDArray[np.float64]]]] = [[], []]
    for weights in resampled_weights(pair[0], bootstrap, seed):
        for units, parts in zip(pair, drawn, strict=True):
            parts.append(_compared(units, weights))
    first, second = ({name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in drawn)
    differences = {name: _difference(name, first[name], second[name], level) for name in first}
    if primary not in differences or np.isnan(differences[primary].difference.value):
        names = ", ".join(name for name, one in differences.items() if not np.isnan(one.difference.value))
        raise ValueError(f"comparison: primary={primary!r} is no score of these images; choose one of {names}.")
    return FPTComparison(
        primary=primary,
        differences=differences,
        images=len(champion),
        patients=len(set(champion.groups)),
        aggregate=aggregate,
        level=level,
        bootstrap=bootstrap,
        seed=seed,
        stratified=is_stratified(pair[0]),
    )


def _compared(units: FPTScoredUnits, weights: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """The scores without those of single classes."""
    found = measured(units, weights, logits=None, calibrated=False)
    return {name: values for name, values in found.items() if "/" not in name}


def _matching_rows(champion: FPTPredictions, challenger: FPTPredictions) -> list[int]:
    """Rows of the challenger in the champion's order."""
    for name in ("classes", "task", "ordered"):
        ours, theirs = getattr(champion, name), getattr(challenger, name)
        if ours != theirs:
            raise ValueError(
                f"comparison: the champion's {name} are {ours!r} but the challenger's {theirs!r}; compare models of the same question."
            )
    place = {key: row for row, key in enumerate(challenger.keys)}
    alone = len(set(champion.keys) ^ set(place))
    if alone or not place:
        raise ValueError(
            f"comparison: {alone} images were judged by only one of the two ({len(champion):,} and {len(challenger):,} images); evaluate "
            "both on the same test set."
        )
    rows = [place[key] for key in champion.keys]
    if not np.array_equal(champion.labels, challenger.labels[rows]):
        raise ValueError(
            "comparison: the two have different labels for the same images; evaluate both with the same table."
        )
    if champion.groups != tuple(challenger.groups[row] for row in rows):
        raise ValueError(
            "comparison: the two have different patients for the same images; evaluate both with the same group_column."
        )
    return rows


def _difference(
    name: str, champion: npt.NDArray[np.float64], challenger: npt.NDArray[np.float64], level: float
) -> FPTDifference:
    values = challenger - champion
    score = scores_of({"difference": values}, level)["difference"]
    others = values[1:][~np.isnan(values[1:])]
    p_value = float("nan")
    if not np.isnan(score.low):
        least = min(int((others <= 0).sum()), int((others >= 0).sum()))
        p_value = min(1.0, 2 * (least + 1) / (len(others) + 1))
    verdict = "no difference shown"
    if score.low > 0 or score.high < 0:
        verdict = "better" if (score.value > 0) != (name in LOWER_IS_BETTER) else "worse"
    return FPTDifference(float(champion[0]), float(challenger[0]), score, p_value, verdict)
