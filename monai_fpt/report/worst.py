"""The worst errors: what the network was most sure of and wrong about, for a person to look at."""

from __future__ import annotations

import dataclasses

import numpy as np

from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import scored_units
from monai_fpt.report.measure import decisions_of

__all__ = ["FPTError", "worst_errors"]


@dataclasses.dataclass(frozen=True)
class FPTError:
    """One wrong decision.

    Attributes:
        key: of the image; of several images of a patient, the one most wrong.
        patient: number of the patient, from 1 in the order of the predictions.
        label: what it is, in words.
        decision: what the network said, in words.
        confidence: the network's probability of what it said; for several findings of the finding it is most wrong about.
        detail: which finding that is; empty for exclusive classes.
    """

    key: str
    patient: int
    label: str
    decision: str
    confidence: float
    detail: str = ""


def worst_errors(predictions: FPTPredictions, *, aggregate: str | None = None, most: int = 12) -> tuple[FPTError, ...]:
    """Wrong decisions, the surest first.

    Args:
        predictions: of images.
        aggregate: ``"mean"`` or ``"max"`` of a patient's images; None counts images.
        most: number of errors at most.

    Raises:
        ValueError: an unknown aggregate, or images of one patient with different exclusive labels.
    """
    units = scored_units(predictions, aggregate=aggregate)
    decided, marks, single = decisions_of(units), units.one_hot, predictions.probabilities()
    decided_marks = decided.astype(bool) if decided.ndim == 2 else decided[:, None] == np.arange(len(units.classes))
    sureness = np.where(decided_marks, units.probabilities, 1 - units.probabilities)
    wrong = marks != decided_marks
    if units.task == "multiclass":  # only what was said, not what was thereby not said
        wrong &= decided_marks
    surest = np.where(wrong, sureness, -1).max(axis=1)
    found = []
    for unit in np.argsort(-surest, kind="stable")[:most].tolist():
        if surest[unit] < 0:
            break
        k = int(np.where(wrong[unit], sureness[unit], -1).argmax())
        rows = list(units.members[unit])
        said = single[rows, k] if decided_marks[unit, k] else 1 - single[rows, k]
        names = np.array(units.classes)
        finding = str(names[k]) if units.task == "multilabel" else ""
        found.append(
            FPTError(
                key=predictions.keys[rows[int(said.argmax())]],
                patient=int(units.patients[unit]) + 1,
                label=", ".join(names[marks[unit]]) or "none",
                decision=", ".join(names[decided_marks[unit]]) or "none",
                confidence=float(surest[unit]),
                detail=finding,
            )
        )
    return tuple(found)
