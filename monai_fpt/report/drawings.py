"""Drawings of the page as inline SVG: no fonts, scripts or files beside it, dark where the reader's screen is.

All plots have one frame, a square of 0 to 1 on both axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from monai_fpt.data.check.style import CLASS_COLOURS
from monai_fpt.metrics.operating import rule_words
from monai_fpt.report.evaluation import FPTEvaluation, FPTReliability
from monai_fpt.report.tables import cell

__all__ = ["interval_bar", "precision_drawing", "reliability_drawing", "roc_drawing"]

_SIDE, _LEFT, _BELOW, _EDGE = 300, 48, 42, 10
_DASHES = ("", "6 3", "2 3")
_BEFORE, _AFTER = CLASS_COLOURS[1], CLASS_COLOURS[0]
_BAR_WIDTH, _BAR_HEIGHT = 120, 14

Points = Sequence[tuple[float, float]]


def _x(value: float) -> float:
    return _LEFT + value * _SIDE


def _y(value: float) -> float:
    return _EDGE + (1 - value) * _SIDE


def _frame(label: str, across: str, up: str, content: str) -> str:
    """A plot with its axes; ``label`` is read out where it cannot be seen."""
    width, height = _LEFT + _SIDE + _EDGE, _EDGE + _SIDE + _BELOW
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(share), _y(share)
        parts.append(f'<path class="axis" d="M{x:.0f} {_y(0):.0f}V{_y(1):.0f}M{_x(0):.0f} {y:.0f}H{_x(1):.0f}"/>')
        parts.append(f'<text x="{x:.0f}" y="{_y(0) + 16:.0f}" text-anchor="middle">{share:g}</text>')
        parts.append(f'<text x="{_x(0) - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{share:g}</text>')
    parts.append(f'<text x="{_x(0.5):.0f}" y="{height - 6}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(12 {_y(0.5):.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{content}</svg>"
    )


def _line(points: Points, colour: str, dashes: str = "", kind: str = "curve") -> str:
    steps = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="{kind}" d="M{steps}" stroke="{colour}"{dashed}/>'


def _look(index: int) -> tuple[str, str]:
    """Colour and dashes of a class."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)], _DASHES[(index // len(CLASS_COLOURS)) % len(_DASHES)]


def _legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Colour, dashes and text of each line, below a plot."""
    rows = []
    for colour, dashes, text in entries:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        mark = f'<svg class="mark" viewBox="0 0 22 8" width="22" height="8"><path class="curve" d="M0 4H22" stroke="{colour}"{dashed}/></svg>'
        rows.append(f"<li>{mark}{escape(text)}</li>")
    return f'<ul class="legend">{"".join(rows)}</ul>'


def roc_drawing(evaluation: FPTEvaluation) -> str:
    """ROC curves with the areas under them, and the thresholds of the calibration where there is one question."""
    lines = [_line(((0, 0), (1, 1)), "currentColor", "2 4", "guide")]
    entries = []
    for index, curve in enumerate(evaluation.curves):
        colour, dashes = _look(index)
        lines.append(_line(curve.roc, colour, dashes))
        score = evaluation.scores.get(f"auc/{curve.name}", evaluation.scores["auc"])
        entries.append((colour, dashes, f"{curve.name}: AUC {cell(score)}"))
    for name, rate, sensitivity in decision_points(evaluation):
        lines.append(
            f'<circle class="point" cx="{_x(rate):.1f}" cy="{_y(sensitivity):.1f}" r="4.5" fill="{CLASS_COLOURS[0]}">'
            f"<title>{escape(name)}</title></circle>"
        )
    dots = '<p class="quiet">Dots: the chosen thresholds.</p>' if decision_points(evaluation) else ""
    return _frame("ROC curves", "1 - specificity", "sensitivity", "".join(lines)) + _legend(entries) + dots


def decision_points(evaluation: FPTEvaluation) -> list[tuple[str, float, float]]:
    """Rule, false positive rate and sensitivity at the thresholds, where there is one question only."""
    if evaluation.calibration is None or len(evaluation.curves) != 1 or len(evaluation.classes) > 2:
        return []
    found = []
    for name in evaluation.calibration.thresholds:
        sensitivity, specificity = (
            evaluation.scores[f"{kind}/{name}"].value for kind in ("sensitivity", "specificity")
        )
        if not (math.isnan(sensitivity) or math.isnan(specificity)):
            found.append((rule_words(name.rpartition("/")[2]), 1 - specificity, sensitivity))
    return found


def precision_drawing(evaluation: FPTEvaluation) -> str:
    """Precision against recall, and how common each class is."""
    lines, entries = [], []
    for index, curve in enumerate(evaluation.curves):
        colour, dashes = _look(index)
        lines.append(_line(((0, curve.prevalence), (1, curve.prevalence)), colour, "2 4", "guide"))
        lines.append(_line(curve.precision_recall, colour, dashes))
        score = evaluation.scores.get(f"average_precision/{curve.name}", evaluation.scores["average_precision"])
        entries.append((colour, dashes, f"{curve.name}: AP {cell(score)}"))
    return _frame("Precision-recall curves", "recall (sensitivity)", "precision (PPV)", "".join(lines)) + _legend(
        entries
    )


def reliability_drawing(evaluation: FPTEvaluation) -> str:
    """How often it came true against how sure the network was, before and after calibration."""
    lines = [_line(((0, 0), (1, 1)), "currentColor", "2 4", "guide")]
    entries = []
    for found, colour, words, name in (
        (evaluation.reliability, _BEFORE, "uncalibrated", "ece"),
        (evaluation.reliability_calibrated, _AFTER, "calibrated", "ece_calibrated"),
    ):
        if found is not None:
            lines.append(_bins(found, colour))
            entries.append((colour, "", f"{words}: ECE {cell(evaluation.scores[name])}"))
    up = (
        "share that is right" if evaluation.task == "multiclass" and len(evaluation.classes) > 2 else "share that is so"
    )
    return _frame("Reliability diagram", "probability", up, "".join(lines)) + _legend(entries)


def _bins(found: FPTReliability, colour: str) -> str:
    """A circle a bin with the interval of its share, joined by a line."""
    parts = [_line(list(zip(found.confidence, found.observed, strict=True)), colour, "", "thin")]
    for x, y, low, high, count in zip(
        found.confidence, found.observed, found.low, found.high, found.counts, strict=True
    ):
        parts.append(_line(((x, low), (x, high)), colour, "", "range"))
        parts.append(
            f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4" fill="{colour}">'
            f"<title>{count:,} decisions: probability {x:.2f}, share {y:.2f} ({low:.2f}-{high:.2f})</title></circle>"
        )
    return "".join(parts)


def interval_bar(value: float, low: float, high: float, reference: float, start: float) -> str:
    """An interval on an axis from ``start`` to 1, with a line at ``reference``.

    Args:
        value: of the group.
        low: end of its interval.
        high: end of its interval.
        reference: value of the whole.
        start: left end of the axis.
    """

    def place(number: float) -> float:
        return 4 + (min(max(number, start), 1) - start) / (1 - start) * (_BAR_WIDTH - 8)

    middle = _BAR_HEIGHT / 2
    interval = "" if math.isnan(low) else f'<path class="range" d="M{place(low):.1f} {middle}H{place(high):.1f}"/>'
    return (
        f'<svg class="bar" viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" aria-hidden="true">'
        f'<path class="whole" d="M{place(reference):.1f} 0V{_BAR_HEIGHT}"/>{interval}'
        f'<circle cx="{place(value):.1f}" cy="{middle}" r="3.5"/></svg>'
    )
