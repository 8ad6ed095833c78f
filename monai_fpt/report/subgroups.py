"""Scores by what is known of the images: sex, age, site, camera, any column of the table.

Decisions:

* Ages (a column with ``age`` among the words of its name, such as ``age`` or ``PatientAge``, as numbers or DICOM's ``055Y``; or any column
  of nothing but DICOM's ages) are put in bands of twenty years; other
  numbers of more than twelve values in quarters; anything else is its own group. Where nothing is known the group is ``unknown``.
* A group of fewer than ten images, or of which every image has the same labels, is listed with its numbers and without scores.
* A column that would make more than twenty groups is left out unless it was asked for by name, and that is said.
* Intervals come from the same resamples of patients as those of the whole.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits
from monai_fpt.report.score import FPTScore

__all__ = ["LEAST_IMAGES", "FPTSubgroup", "groups_of_column", "subgroup_columns", "subgroup_members", "why_not_scored"]

LEAST_IMAGES = 10
UNKNOWN = "unknown"
SEVERAL = "several"
_MOST_GROUPS = 20
_MOST_VALUES = 12
_BANDS = ((0, "under 20"), (20, "20 to 39"), (40, "40 to 59"), (60, "60 to 79"), (80, "80 and over"))
_AGE = re.compile(r"0*(\d+(?:\.\d+)?)([YMWD]?)", re.IGNORECASE)
_DICOM_AGE = re.compile(r"\d{3}[DWMY]")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 1 / 52.2, "D": 1 / 365.25}


@dataclasses.dataclass(frozen=True)
class FPTSubgroup:
    """One group of one column.

    Attributes:
        column: name of the column.
        value: of the group.
        images: number of units: images, or patients where they were put together.
        patients: number of patients.
        counts: units of each class.
        scores: by name; empty where they cannot be computed.
        reason: why they cannot; empty where they can.
        remark: which classes the means are over, where the group lacks some that the whole has; empty otherwise.
    """

    column: str
    value: str
    images: int
    patients: int
    counts: tuple[int, ...]
    scores: Mapping[str, FPTScore] = dataclasses.field(default_factory=dict)
    reason: str = ""
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The group as JSON can hold it."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["counts"] = list(self.counts)
        content["scores"] = {name: score.to_dict() for name, score in self.scores.items()}
        return content


def subgroup_columns(predictions: FPTPredictions, asked: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Columns to break scores down by, and what is to be said of those that are left out.

    Args:
        predictions: with facts.
        asked: names of facts; None takes all that make two to twenty groups.

    Raises:
        ValueError: there is no such fact.
    """
    if asked is not None:
        unknown = [name for name in asked if name not in predictions.facts]
        if unknown:
            known = ", ".join(sorted(predictions.facts)) or "none; keep columns with --subgroups at the evaluation"
            raise ValueError(f"report: nothing called {', '.join(unknown)} is known of the images (known: {known}).")
        return list(asked), []
    chosen, remarks = [], []
    for name, values in predictions.facts.items():
        groups = set(groups_of_column(name, values))
        if len(groups) > _MOST_GROUPS:
            remarks.append(f"No subgroups by {name}: it has {len(groups)} values; ask for it by name to see them all.")
        elif len(groups) > 1:
            chosen.append(name)
        elif groups:
            remarks.append(f"No subgroups by {name}: all images have the value {next(iter(groups))!r}.")
    return chosen, remarks


def groups_of_column(name: str, values: Sequence[str]) -> list[str]:
    """The group of each of N values.

    Args:
        name: of the column.
        values: N texts, empty where unknown.

    Example:
        >>> groups_of_column("age", ["55.0", "055Y", "7", "", "85"])
        ['40 to 59', '40 to 59', 'under 20', 'unknown', '80 and over']
        >>> groups_of_column("PatientAge", ["045Y", "018M"])
        ['40 to 59', 'under 20']
    """
    texts = [str(value).strip() for value in values]
    texts = ["" if text.lower() in ("nan", "none", "na", "n/a", "unknown") else text for text in texts]
    if _is_age(name, texts):
        return [_band(text) for text in texts]
    numbers = [_number(text) for text in texts if text]
    if len(set(texts)) > _MOST_VALUES and all(number is not None for number in numbers):
        return _quarters(texts)
    return [text or UNKNOWN for text in texts]


def _is_age(name: str, texts: Sequence[str]) -> bool:
    words = {word.lower() for word in _WORDS.findall(name)}
    known = [text for text in texts if text]
    return bool(words & {"age", "patientage"}) or (bool(known) and all(map(_DICOM_AGE.fullmatch, known)))


def _band(text: str) -> str:
    if not text:
        return UNKNOWN
    found = _AGE.fullmatch(text)
    if found is None:
        return text
    years = float(found[1]) * _YEARS[found[2].upper()]
    return [label for start, label in _BANDS if years >= start][-1]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _quarters(texts: Sequence[str]) -> list[str]:
    known = np.array([float(text) for text in texts if text])
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    groups = np.digitize(known, edges, right=True)
    labels = {
        int(number): f"{known[groups == number].min():g} to {known[groups == number].max():g}"
        for number in np.unique(groups)
    }
    ranked = iter(groups.tolist())
    return [labels[next(ranked)] if text else UNKNOWN for text in texts]


def subgroup_members(
    column: str, predictions: FPTPredictions, units: FPTScoredUnits
) -> list[tuple[FPTSubgroup, npt.NDArray[np.int64]]]:
    """The groups of a column, in the order of a table, without scores, and the rows of ``units`` that are in each.

    Args:
        column: name of a fact.
        predictions: of images.
        units: images, or patients; a patient whose images differ is in the group ``several``.
    """
    values = groups_of_column(column, predictions.facts[column])
    sets = [{values[row] for row in rows} for rows in units.members]
    groups = [one.pop() if len(one) == 1 else SEVERAL for one in sets]
    found = []
    for value in _ranked(groups):
        rows = np.flatnonzero([group == value for group in groups])
        own = units.subset(rows)
        counts = tuple(int(n) for n in own.one_hot.sum(axis=0))
        patients = len(np.unique(own.patients))
        group = FPTSubgroup(column, value, len(own), patients, counts, reason=why_not_scored(own))
        found.append((dataclasses.replace(group, remark=_remark(own, units)), rows))
    return found


def why_not_scored(units: FPTScoredUnits) -> str:
    """Why a group has no scores; empty where it has."""
    if len(units) < LEAST_IMAGES:
        return f"fewer than {LEAST_IMAGES}"
    if not _asked_for(units).any():
        return "one class only" if units.task == "multiclass" else "no finding varies"
    return ""


def _remark(own: FPTScoredUnits, whole: FPTScoredUnits) -> str:
    """Of how many classes the mean is, where the group lacks some; a mean over others cannot be compared."""
    there, everywhere = (int(_asked_for(units).sum()) for units in (own, whole))
    return "" if there == everywhere else f"{there} of {everywhere} classes"


def _asked_for(units: FPTScoredUnits) -> npt.NDArray[np.bool_]:
    """(K,): which classes occur, and not always."""
    marks = units.one_hot
    return np.asarray(marks.any(axis=0) & ~marks.all(axis=0))


def _ranked(groups: Sequence[str]) -> list[str]:
    """Groups as a table lists them: bands of age by age, numbers by number, texts by text, the unknown last."""
    bands = [label for _, label in _BANDS]

    def place(group: str) -> tuple[int, float, str]:
        if group in (UNKNOWN, SEVERAL):
            return 2, 0.0, group
        if group in bands:
            return 0, float(bands.index(group)), ""
        start = re.match(r"-?\d+(\.\d+)?", group)
        return (0, float(start[0]), group) if start else (1, 0.0, group)

    return sorted(set(groups), key=place)
