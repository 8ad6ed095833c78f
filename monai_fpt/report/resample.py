"""Resamples of patients: how often each counts in each of B data sets drawn from the one at hand.

Decisions:

* Patients are drawn, not images: images of one patient are alike, and intervals over images would be too narrow.
* As many patients are drawn as there are, with replacement. Where a class has fewer than ten patients it could vanish from a
  resample; then the patients of each rare class are drawn among themselves (stratified), which the evaluation says.
* A patient of several classes belongs to the rarest of them.
* Resamples come in parts, so that a hundred thousand images need no more memory than a few.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.units import FPTScoredUnits

__all__ = ["RARE", "class_patients", "is_stratified", "resampled_weights"]

RARE = 10
_CELLS = 4_000_000  # of a part: 32 MB

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


def class_patients(units: FPTScoredUnits) -> _Ints:
    """(K,): patients with a unit of each class."""
    pairs = units.one_hot
    return np.array([len(np.unique(units.patients[pairs[:, k]])) for k in range(pairs.shape[1])], dtype=np.int64)


def _strata(units: FPTScoredUnits) -> list[_Ints]:
    """Numbers of the patients that are drawn among themselves: those of each rare class, and all others."""
    counts = class_patients(units)
    total = int(units.patients.max(initial=-1)) + 1
    stratum = np.full(total, -1, dtype=np.int64)
    for k in np.argsort(-counts, kind="stable"):  # the rarest last, so that it keeps its patients
        if counts[k] < RARE:
            stratum[units.patients[units.one_hot[:, k]]] = k
    return [np.flatnonzero(stratum == value) for value in np.unique(stratum)]


def is_stratified(units: FPTScoredUnits) -> bool:
    """Whether a class that occurs has fewer than ten patients, so that patients are drawn by class."""
    counts = class_patients(units)
    return bool(((counts > 0) & (counts < RARE)).any())


def resampled_weights(units: FPTScoredUnits, resamples: int, seed: int) -> Iterator[_Floats]:
    """How often each unit counts: first one row of ones, the data set itself, then the resamples in parts.

    Args:
        units: images or patients.
        resamples: number of resamples.
        seed: of the draws; the same seed and patients give the same resamples.

    Yields:
        (B, N); the B of all parts together are ``1 + resamples``.
    """
    yield np.ones((1, len(units)))
    random = np.random.default_rng(seed)
    strata = _strata(units)
    total = int(units.patients.max(initial=-1)) + 1
    step = max(1, _CELLS // max(1, len(units)))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = np.zeros((count, total))
        for row in drawn:
            for members in strata:
                size = len(members)
                row[members] = np.bincount(random.integers(size, size=size), minlength=size)
        yield drawn[:, units.patients]
