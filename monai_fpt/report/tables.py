"""The tables of a report as rows of text, the first row its heads; printed and page have the same."""

from __future__ import annotations

import math

from monai_fpt.metrics.operating import fpt_questions, rule_words
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.score import FPTScore

__all__ = [
    "class_table",
    "headline",
    "level_words",
    "method_words",
    "score_table",
    "subgroup_kinds",
    "subgroup_table",
    "threshold_table",
    "what_was_scored",
]

WORDS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "kappa": "quadratic kappa",
    "official_auc": "AUC of raw logits",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "nll": "log loss",
    "ppv": "PPV",
    "npv": "NPV",
}
_CALIBRATED = "_calibrated"
_MOST_COUNTED = 3

Rows = list[tuple[str, ...]]


def _words(name: str) -> str:
    base = name.removesuffix(_CALIBRATED)
    said = WORDS.get(base, base.replace("_", " "))
    return f"{said}, calibrated" if name.endswith(_CALIBRATED) else said


def cell(score: FPTScore | None) -> str:
    """A score with its interval for a table."""
    if score is None or math.isnan(score.value):
        return "-"
    return f"{score.value:.2f}" + ("" if math.isnan(score.low) else f" ({score.low:.2f}-{score.high:.2f})")


def level_words(evaluation: FPTEvaluation) -> str:
    """``95 % interval``."""
    return f"{evaluation.level * 100:g} % interval"


def headline(evaluation: FPTEvaluation) -> str:
    """The one score that is named first."""
    score = evaluation.scores["auc"]
    if math.isnan(score.value):
        accuracy = evaluation.scores["accuracy"]
        return f"No AUC (one class only); accuracy {accuracy.value:.3f}"
    interval = f" ({level_words(evaluation)} {score.interval})" if score.interval else " (no interval)"
    return f"AUC {score.value:.3f}{interval}"


def what_was_scored(evaluation: FPTEvaluation) -> str:
    """How many images, patients and of which classes."""
    of = (
        ""
        if evaluation.aggregate is None
        else f", put together by {'mean' if evaluation.aggregate == 'mean' else 'maximum'}"
    )
    counts = ", ".join(f"{name} {count:,}" for name, count in zip(evaluation.classes, evaluation.counts, strict=True))
    whose = f" of {evaluation.patients:,} patients" if evaluation.patients_known else ""
    return f"{evaluation.images:,} images{whose}{of}: {counts}"


def method_words(evaluation: FPTEvaluation) -> str:
    """How the intervals came about."""
    if not evaluation.bootstrap:
        return "Without intervals."
    how = ", those of rare classes among themselves" if evaluation.stratified else ""
    return (
        f"{evaluation.level * 100:g} % intervals: percentiles of {evaluation.bootstrap:,} resamples of patients{how}, "
        f"seed {evaluation.seed}."
    )


def score_table(evaluation: FPTEvaluation) -> Rows:
    """The scores of the whole."""
    rows: Rows = [("score", "value", level_words(evaluation))]
    for name, score in evaluation.scores.items():
        if "/" not in name:
            value = "-" if math.isnan(score.value) else f"{score.value:.3f}"
            rows.append((_words(name), value, score.interval or "-"))
    return rows


def class_table(evaluation: FPTEvaluation) -> Rows:
    """Scores of each class against the rest; empty for two classes, whose scores are those of the whole."""
    kinds = ("auc", "average_precision", "sensitivity", "specificity", "f1")
    names = [question.name for question in fpt_questions(evaluation.classes, task=evaluation.task)]
    if len(names) < 2:
        return []
    counts = dict(zip(evaluation.classes, evaluation.counts, strict=True))
    rows: Rows = [("class", evaluation.units, *(_words(kind) for kind in kinds))]
    for name in names:
        cells = (cell(evaluation.scores.get(f"{kind}/{name}")) for kind in kinds)
        rows.append((name, f"{counts[name]:,}", *cells))
    return rows


def threshold_table(evaluation: FPTEvaluation) -> Rows:
    """Rates at the thresholds of the calibration; empty without one."""
    if evaluation.calibration is None or not evaluation.calibration.thresholds:
        return []
    kinds = ("sensitivity", "specificity", "ppv", "npv")
    several = len(fpt_questions(evaluation.classes, task=evaluation.task, ordered=evaluation.ordered)) > 1
    rows: Rows = [(*(("class",) if several else ()), "chosen for", "threshold", *(_words(kind) for kind in kinds))]
    before = ""
    for name, at in evaluation.calibration.thresholds.items():
        question, _, rule = name.rpartition("/")
        cells = (cell(evaluation.scores.get(f"{kind}/{name}")) for kind in kinds)
        first = (question if question != before else "",) if several else ()
        rows.append((*first, rule_words(rule), f"{at:.3f}", *cells))
        before = question
    return rows


def subgroup_kinds(evaluation: FPTEvaluation) -> list[str]:
    """Names of the scores that groups have."""
    return list(dict.fromkeys(name for group in evaluation.subgroups for name in group.scores))


def subgroup_table(evaluation: FPTEvaluation, column: str) -> Rows:
    """Scores of the groups of a column, as many last cells as :func:`subgroup_kinds` names; a group without scores says why in the
    first of them. Images of each class are counted where there are at most three."""
    kinds = subgroup_kinds(evaluation)
    patients = any(group.patients != group.images for group in evaluation.subgroups)
    classes = evaluation.classes if len(evaluation.classes) <= _MOST_COUNTED else ()
    heads = [_words(kind) for kind in kinds] or ["scores"]
    rows: Rows = [(column, evaluation.units, *(("patients",) if patients else ()), *classes, *heads)]
    for group in evaluation.subgroups:
        if group.column == column:
            shown = [cell(group.scores.get(kind)) for kind in kinds] if not group.reason else [group.reason]
            shown += [""] * (len(heads) - len(shown))
            numbers = [group.images, *([group.patients] if patients else []), *group.counts[: len(classes)]]
            remark = f" ({group.remark})" if group.remark and not group.reason else ""
            rows.append((group.value + remark, *(f"{number:,}" for number in numbers), *shown))
    return rows
