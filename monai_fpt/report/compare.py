"""compare_predictions: is the challenger better than the champion, or is it chance? Both answer the same images.

Decisions:

* The same resamples of patients are drawn for both, so that what is hard for both cancels out; the interval is that of the
  difference, which is narrower than two intervals suggest.
* A difference is real where its interval does not hold 0 and its p-value is at most 1 - level. The p-value is the share of resamples on
  the other side of 0, doubled, and never 0: with B resamples at least 2 / (B + 1). Fewer than a hundred resamples, or so few that no
  p-value could be that small, decide nothing and are refused.
* One score decides, chosen beforehand (``primary``); among many, some differ by chance.
* Images are paired by what they are, not by what they are called: by their contents where both know them. Predictions of older versions
  do not; then images are paired by name, with the same label and patient, and the comparison says so.
* Images that only one of them has judged, or that have another label or patient there, are an error and not left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits, scored_units
from monai_fpt.report.measure import LOWER_IS_BETTER, measured
from monai_fpt.report.notes import few_patients
from monai_fpt.report.resample import RARE, is_stratified, resampled_weights
from monai_fpt.report.score import FPTScore, plain_number, scores_of

__all__ = ["FPTComparison", "FPTDifference", "compare_predictions"]

LEAST_RESAMPLES = 100


@dataclasses.dataclass(frozen=True)
class FPTDifference:
    """One score of both.

    Attributes:
        champion: value of the champion.
        challenger: value of the challenger.
        difference: challenger minus champion, with its interval.
        p_value: two-sided; NaN where there are no resamples.
        verdict: ``"better"`` or ``"worse"`` (of the challenger) where the interval does not hold 0 and the p-value is at
            most 1 - level, else ``"no difference shown"``.
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
        paired_by: ``"content"`` or ``"name"`` of the images.
        notes: sentences that must be known to read the numbers.
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
    paired_by: str
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """That of the primary score: ``"better"``, ``"worse"`` or ``"no difference shown"``."""
        return self.differences[self.primary].verdict

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["differences"] = {name: one.to_dict() for name, one in self.differences.items()}
        return content | {"notes": list(self.notes), "verdict": self.verdict}

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
        lines.append(f"By {self.primary}, chosen beforehand, the challenger is {said} the champion.")
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


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
        bootstrap: number of resamples, at least 100.
        level: of the intervals, between 0 and 1.
        seed: of the resamples.

    Raises:
        ValueError: the two are not about the same images, labels, patients and classes; the primary score is unknown or undefined;
            or an option that cannot be.
    """
    if not 0 < level < 1:
        raise ValueError(f"comparison: level={level} must lie between 0 and 1; correct it.")
    least = max(LEAST_RESAMPLES, math.ceil(2 / (1 - level) - 1 - 1e-9))
    if bootstrap < least:
        raise ValueError(
            f"comparison: bootstrap={bootstrap} resamples can decide nothing at level={level}; draw at least {least:,}."
        )
    paired_by, rows = _matching_rows(champion, challenger)
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
        paired_by=paired_by,
        notes=tuple(_notes(champion, pair[0], paired_by)),
    )


def _notes(champion: FPTPredictions, units: FPTScoredUnits, paired_by: str) -> list[str]:
    found = []
    if paired_by == "name":
        found.append(
            "Images were paired by name, label and patient, for not both predictions know the contents: that images of one name are the same "
            "cannot be checked; evaluate both again with this version."
        )
    if few := few_patients(units):
        found.append(f"Fewer than {RARE} patients of {', '.join(few)}: interval and p-value are rough.")
    if not champion.patients_known:
        found.append(
            "No patients are known, each image counts as one: where a patient has several images, the interval is too narrow."
        )
    return found


def _compared(units: FPTScoredUnits, weights: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """The scores without those of single classes."""
    found = measured(units, weights, logits=None, calibrated=False)
    return {name: values for name, values in found.items() if "/" not in name}


def _matching_rows(champion: FPTPredictions, challenger: FPTPredictions) -> tuple[str, list[int]]:
    """What images were paired by, and rows of the challenger in the champion's order."""
    for name in ("classes", "task", "ordered"):
        ours, theirs = getattr(champion, name), getattr(challenger, name)
        if ours != theirs:
            raise ValueError(
                f"comparison: the champion's {name} are {ours!r} but the challenger's {theirs!r}; compare models of the same question."
            )
    by_content = bool(champion.contents and challenger.contents)
    wanted, found = (_by_content(one) if by_content else list(one.keys) for one in (champion, challenger))
    place = {name: row for row, name in enumerate(found)}
    alone = len(set(wanted) ^ set(place))
    if alone or not place:
        named = len(set(champion.keys) & set(challenger.keys)) if by_content else 0
        raise ValueError(
            f"comparison: {alone} images were judged by only one of the two ({len(champion):,} and {len(challenger):,} images"
            f"{f', of which {named:,} have the same names but not all the same contents' if named else ''}); evaluate both on the same test "
            "set."
        )
    rows = [place[name] for name in wanted]
    if not np.array_equal(champion.labels, challenger.labels[rows]):
        raise ValueError(
            "comparison: the two have different labels for the same images; evaluate both with the same table."
        )
    groups = tuple(challenger.groups[row] for row in rows)
    if not (_as_one(champion.groups, groups) if by_content else champion.groups == groups):
        raise ValueError(
            "comparison: the two have different patients for the same images; evaluate both with the same group_column."
        )
    return "content" if by_content else "name", rows


def _by_content(predictions: FPTPredictions) -> list[Hashable]:
    """A name of each image by its content; copies of one image are numbered by label and name."""
    named: list[Hashable] = [""] * len(predictions)
    copies: Counter[str] = Counter()
    for row in sorted(range(len(predictions)), key=lambda n: (predictions.labels[n].tolist(), predictions.keys[n])):
        content = predictions.contents[row]
        named[row] = (content, copies[content])
        copies[content] += 1
    return named


def _as_one(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether patients hold the same images, whatever they are called: the resamples are the same then."""
    pairs = set(zip(ours, theirs, strict=True))
    return len(pairs) == len(set(ours)) == len(set(theirs))


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
    if (score.low > 0 or score.high < 0) and p_value <= 1 - level + 1e-12:
        verdict = "better" if (score.value > 0) != (name in LOWER_IS_BETTER) else "worse"
    return FPTDifference(float(champion[0]), float(challenger[0]), score, p_value, verdict)
