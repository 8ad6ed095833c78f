"""FPTScore: a number with its interval, and how intervals come from resamples.

Intervals are percentiles of the resamples. The calibration error is a sum of distances, which are larger in a resample than in the
data set it is drawn from, so that its percentiles can lie above its value; they are shifted by the mean surplus.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FPTScore", "plain_number", "scores_of"]

_LEAST_USABLE = 0.5  # share of the resamples that must define a score for an interval


@dataclasses.dataclass(frozen=True)
class FPTScore:
    """A score of a data set and its bootstrap interval.

    Attributes:
        value: NaN where the data do not define it.
        low: lower end, a percentile of the resamples; NaN where fewer than half of them define the score, or none differs.
        high: upper end.
        usable: number of resamples that define the score.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    usable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The score as JSON can hold it: null for NaN."""
        numbers = {name: plain_number(getattr(self, name)) for name in ("value", "low", "high")}
        return {**numbers, "usable": self.usable}

    @property
    def interval(self) -> str:
        """``0.671 to 0.862``; empty where there is none."""
        return "" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" + (f" ({self.interval})" if self.interval else "")


def plain_number(value: float) -> float | None:
    """None for what is no number, as JSON wants it."""
    return float(value) if math.isfinite(value) else None


def scores_of(drawn: Mapping[str, npt.NDArray[np.float64]], level: float) -> dict[str, FPTScore]:
    """Scores with percentile intervals.

    Args:
        drawn: name to (1 + B,): the data set's own value, then those of B resamples; NaN where undefined.
        level: of the intervals, such as 0.95.

    Example:
        >>> str(scores_of({"auc": np.array([0.8, 0.7, 0.8, 0.9])}, 0.5)["auc"])
        '0.800 (0.750 to 0.850)'
    """
    return {name: _score(values, level, centred=name.startswith("ece")) for name, values in drawn.items()}


def _score(values: npt.NDArray[np.float64], level: float, *, centred: bool) -> FPTScore:
    own, others = float(values[0]), values[1:]
    defined = others[~np.isnan(others)]
    if math.isnan(own) or not len(defined) or len(defined) < _LEAST_USABLE * len(others):
        return FPTScore(own, usable=len(defined))
    if centred:
        defined = np.maximum(defined - (defined.mean() - own), 0)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return FPTScore(own, float(low), float(high), len(defined))
