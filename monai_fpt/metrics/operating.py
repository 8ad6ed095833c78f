"""Yes-or-no questions behind a classification, and the thresholds at which they are answered.

A sensitivity belongs to a question and a threshold. Decisions:

* **Questions.** Two exclusive classes are one question, whether it is the second. Several exclusive classes are one question
  each, against the rest. Classes with an order are asked as they are used: "this grade or above". Findings are one each.
* **The value** of a question is the sum of the probabilities of its classes; at the threshold or above the answer is yes.
* **Thresholds** lie half way between two neighbouring values, not on an image's own value, where rounding would decide.
* **Rules**: the largest sum of sensitivity and specificity (Youden); the highest threshold of at least 90 % (95 %) sensitivity;
  the lowest of at least 90 % specificity. They are chosen on validation images only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["RULES", "FPTQuestion", "fpt_questions", "fpt_thresholds", "rule_words"]

RULES: Mapping[str, str] = {
    "youden": "Youden",
    "sensitivity_0.90": "sensitivity 90 %",
    "sensitivity_0.95": "sensitivity 95 %",
    "specificity_0.90": "specificity 90 %",
}
"""Rules by which a threshold is chosen, and what they are called in a table."""

_Floats = npt.NDArray[np.float64]
_Marks = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class FPTQuestion:
    """A yes-or-no question to a classifier.

    Attributes:
        name: for people: a class, or ``"moderate or above"``.
        members: numbers of the classes whose probabilities are summed.
    """

    name: str
    members: tuple[int, ...]

    def values(self, probabilities: _Floats) -> _Floats:
        """(N, K) probabilities as the question's (N,) values in [0, 1]."""
        return np.asarray(np.clip(probabilities[:, self.members].sum(axis=1), 0, 1))

    def positives(self, labels: npt.NDArray[np.int64]) -> _Marks:
        """(N,) class numbers or (N, K) zeros and ones as (N,) answers."""
        if labels.ndim == 1:
            return np.isin(labels, self.members)
        return np.asarray(labels[:, self.members].any(axis=1))


def fpt_questions(classes: Sequence[str], *, task: str, ordered: bool = False) -> tuple[FPTQuestion, ...]:
    """The questions of a classification.

    Args:
        classes: names of the K classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        ordered: whether the order of exclusive classes means something.

    Example:
        >>> [question.name for question in fpt_questions(["none", "mild", "severe"], task="multiclass", ordered=True)]
        ['mild or above', 'severe']
    """
    count = len(classes)
    if task == "multiclass" and count == 2:
        return (FPTQuestion(str(classes[1]), (1,)),)
    if task == "multiclass" and ordered:
        names = [f"{name} or above" for name in classes[1:-1]] + [str(classes[-1])]
        return tuple(FPTQuestion(name, tuple(range(k, count))) for k, name in enumerate(names, start=1))
    return tuple(FPTQuestion(str(name), (k,)) for k, name in enumerate(classes))


def fpt_thresholds(values: _Floats, positives: _Marks) -> dict[str, float]:
    """A threshold in [0, 1] for each of :data:`RULES`.

    Args:
        values: (N,) in [0, 1], of validation images.
        positives: (N,).

    Returns:
        rule to threshold, without a rule that no threshold keeps; empty where there are no positives or no negatives.

    Example:
        >>> chosen = fpt_thresholds(np.array([0.1, 0.3, 0.6, 0.8]), np.array([False, False, True, True]))
        >>> round(chosen["youden"], 3)
        0.45
    """
    if positives.all() or not positives.any():
        return {}
    ranked = np.unique(values)[::-1]
    neighbours = np.concatenate([[1.0], ranked, [0.0]])
    thresholds = (neighbours[:-1] + neighbours[1:]) / 2  # none is called positive ... all are
    sensitivity = np.round(_share_at(values[positives], thresholds), 12)
    specificity = np.round(1 - _share_at(values[~positives], thresholds), 12)
    chosen = {"youden": int(np.argmax(np.round(sensitivity + specificity, 12)))}
    chosen |= {f"sensitivity_{wanted}": int(np.argmax(sensitivity >= float(wanted))) for wanted in ("0.90", "0.95")}
    kept = np.flatnonzero(specificity >= 0.90)
    if len(kept):
        chosen["specificity_0.90"] = int(kept[-1])
    return {rule: float(thresholds[place]) for rule, place in chosen.items()}


def _share_at(values: _Floats, thresholds: _Floats) -> _Floats:
    """Share of the values at each threshold or above."""
    return 1 - np.searchsorted(np.sort(values), thresholds, side="left") / len(values)


def rule_words(rule: str) -> str:
    """A rule for people; an unknown one is named as it is."""
    return RULES.get(rule, rule)
