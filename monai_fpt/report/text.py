"""An evaluation as a printed table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.tables import (
    class_table,
    headline,
    method_words,
    score_table,
    subgroup_table,
    threshold_table,
    what_was_scored,
)

__all__ = ["evaluation_text"]

_WIDTH = 118
_NAME = 30


def evaluation_text(evaluation: FPTEvaluation) -> str:
    """The evaluation in blocks: scores, classes, thresholds, confusion, subgroups, notes."""
    blocks = [
        f"Evaluation of {evaluation.section}: {headline(evaluation)}\n{what_was_scored(evaluation)}",
        _aligned(score_table(evaluation)),
        _aligned(class_table(evaluation)),
    ]
    calibration = evaluation.calibration
    if calibration is not None:
        blocks.append(
            f"Temperature {calibration.temperature:.3f}, thresholds of calibrated probabilities chosen on {calibration.images:,} validation "
            f"images\n{_aligned(threshold_table(evaluation))}"
        )
    if evaluation.task == "multiclass":
        blocks.append(_confusion(evaluation))
    blocks += [
        _aligned(subgroup_table(evaluation, column)) for column in dict.fromkeys(g.column for g in evaluation.subgroups)
    ]
    blocks += ["\n".join(_note(*note) for note in evaluation.notes), method_words(evaluation)]
    return "\n\n".join(block for block in blocks if block)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left."""
    if not rows:
        return ""
    cut = [[text if len(text) <= _NAME else text[: _NAME - 1] + "…" for text in row] for row in rows]
    widths = [max(len(row[place]) for row in cut) for place in range(len(cut[0]))]
    lines = []
    for row in cut:
        rest = "".join(f"  {text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"{row[0]:<{widths[0]}}{rest}".rstrip())
    return "\n".join(lines)


def _confusion(evaluation: FPTEvaluation) -> str:
    (table,) = evaluation.confusion
    rows = [("label \\ decision", *evaluation.classes)]
    rows += [(name, *(f"{n:,}" for n in row)) for name, row in zip(evaluation.classes, table, strict=True)]
    return _aligned(rows)


def _note(severity: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=f"{severity:<9}", subsequent_indent=" " * 9)
