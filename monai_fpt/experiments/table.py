"""Tables for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["aligned", "number", "spread"]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left, the others to the right.

    Example:
        >>> print(aligned([("fold", "auc"), ("fold_1", "0.8")]))
        fold    auc
        fold_1  0.8
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        rest = "".join(f"  {text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"{row[0]:<{widths[0]}}{rest}".rstrip())
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three decimals; a dash where there is no number."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample) of what is defined; NaN where there is too little.

    Example:
        >>> spread([0.5, 0.7, float("nan")])
        (0.6, 0.141...)
    """
    defined = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(defined) if defined else math.nan
    return mean, statistics.stdev(defined) if len(defined) > 1 else math.nan
