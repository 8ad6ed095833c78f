"""Drawings of the page as inline SVG: the forest of differences, and the dots of all seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.experiments.table import spread

__all__ = ["difference_forest", "seed_dots"]

_LABELS, _PLOT, _NUMBERS, _STEP, _TOP, _BELOW = 190, 360, 190, 26, 8, 40
_WIDTH = _LABELS + _PLOT + _NUMBERS
_CLASSES = {"better": "better", "worse": "worse", "no difference shown": "same"}


def difference_forest(found: FPTArmComparison) -> str:
    """Each arm's difference to the reference with its interval; empty where there is none."""
    rows = [row for row in found.rows if row.difference is not None and not math.isnan(row.difference.score.value)]
    if not rows:
        return ""
    ends = [end for row in rows for end in _ends(row)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.06 * (high - low or 0.1)
    axis = _Axis(low - margin, high + margin, len(rows))
    parts = [axis.ticks(signed=True), axis.upright(0.0)]
    for place, row in enumerate(rows):
        assert row.difference is not None
        score, y = row.difference.score, axis.y(place)
        kind = _CLASSES[row.difference.verdict]
        told = f"{score.value:+.3f} ({score.low:+.3f} to {score.high:+.3f})"
        if not math.isnan(score.low):
            parts.append(f'<path class="range {kind}" d="M{axis.x(score.low):.1f} {y:.1f}H{axis.x(score.high):.1f}"/>')
        else:
            told = f"{score.value:+.3f}"
        parts.append(
            f'<circle class="{kind}" cx="{axis.x(score.value):.1f}" cy="{y:.1f}" r="4"><title>{escape(row.name)}: {told}, '
            f"{row.difference.verdict}</title></circle>"
        )
        parts.append(_words(row.name, told, y))
    parts.append(axis.label(f"test AUC minus that of {found.reference}"))
    return axis.svg("Differences to the reference", parts)


def seed_dots(found: FPTArmComparison) -> str:
    """The test AUC of every training, an arm a line, with the mean as a bar."""
    rows = [row for row in found.rows if not all(map(math.isnan, row.test))]
    if not rows:
        return ""
    values = [value for row in rows for value in row.test if not math.isnan(value)]
    low, high = min(0.5, min(values)), max(values)
    margin = 0.06 * (high - low or 0.1)
    axis = _Axis(low - margin, min(1.0, high + margin), len(rows))
    parts = [axis.ticks(signed=False), axis.upright(0.5)]
    for place, row in enumerate(rows):
        y = axis.y(place)
        mean, deviation = spread(row.test)
        for run, value in zip(row.runs, row.test, strict=True):
            if not math.isnan(value):
                parts.append(
                    f'<circle class="seed" cx="{axis.x(value):.1f}" cy="{y:.1f}" r="4"><title>{escape(row.name)}, seed {run.seed}: {value:.3f}'
                    "</title></circle>"
                )
        parts.append(f'<path class="mean" d="M{axis.x(mean):.1f} {y - 8:.1f}V{y + 8:.1f}"/>')
        parts.append(_words(row.name, f"{mean:.3f}" + ("" if math.isnan(deviation) else f" (sd {deviation:.3f})"), y))
    parts.append(axis.label("test AUC of each training; bar: mean"))
    return axis.svg("Test AUC of every seed", parts)


class _Axis:
    """A horizontal axis with a line of the plot for each arm."""

    def __init__(self, low: float, high: float, rows: int) -> None:
        self.low, self.high, self.rows = low, high, rows

    def x(self, value: float) -> float:
        return _LABELS + (value - self.low) / (self.high - self.low) * _PLOT

    def y(self, place: int) -> float:
        return _TOP + (place + 0.5) * _STEP

    @property
    def bottom(self) -> float:
        return _TOP + self.rows * _STEP

    def ticks(self, signed: bool) -> str:
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (self.high - self.low) / s <= 7)
        first = math.ceil(self.low / step - 1e-9)
        written: Callable[[float], str] = (lambda v: f"{v:+.2f}" if v else "0") if signed else (lambda v: f"{v:.2f}")
        parts = []
        for k in range(first, math.floor(self.high / step + 1e-9) + 1):
            x = self.x(k * step)
            parts.append(f'<path class="axis" d="M{x:.1f} {_TOP}V{self.bottom:.1f}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{self.bottom + 15:.1f}" text-anchor="middle">{written(k * step)}</text>'
            )
        return "".join(parts)

    def upright(self, value: float) -> str:
        x = self.x(value)
        return f'<path class="zero" d="M{x:.1f} {_TOP}V{self.bottom:.1f}"/>'

    def label(self, text: str) -> str:
        return f'<text x="{_LABELS + _PLOT / 2}" y="{self.bottom + 33:.1f}" text-anchor="middle">{escape(text)}</text>'

    def svg(self, label: str, parts: Sequence[str]) -> str:
        height = self.bottom + _BELOW
        return (
            f'<div class="box"><svg class="forest" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img" aria-label="{escape(label)}">'
            f"{''.join(parts)}</svg></div>"
        )


def _ends(row: FPTArmRow) -> list[float]:
    assert row.difference is not None
    score = row.difference.score
    return [value for value in (score.value, score.low, score.high) if not math.isnan(value)]


def _words(name: str, told: str, y: float) -> str:
    return (
        f'<text class="name" x="{_LABELS - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        f'<text x="{_LABELS + _PLOT + 12}" y="{y + 4:.1f}">{escape(told)}</text>'
    )
