"""The table of a comparison as rows of text, the first row its heads; printed and page have the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai_fpt.compare.advice import advice_sentences
from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.compare.notes import notes_of
from monai_fpt.experiments.table import aligned, number, spread

__all__ = ["comparison_rows", "comparison_text", "title_of", "what_was_compared"]


def comparison_rows(found: FPTArmComparison) -> list[tuple[str, ...]]:
    """One row an arm below the heads."""
    heads = (
        *("arm", "validation AUC", "test AUC", "worst seed", f"minus {found.reference}", "interval", "p (Holm)"),
        *("learnable", "% full", "MiB", "seconds", "PPE", "PME"),
    )
    return [heads, *(_row(row) for row in found.rows)]


def _row(row: FPTArmRow) -> tuple[str, ...]:
    several = len(row.test) > 1
    one = row.difference
    return (
        row.name,
        _mean(row.validation),
        _mean(row.test),
        number(min(row.test)) if several else "-",
        "reference" if one is None else _signed(one.score.value),
        "-" if one is None or math.isnan(one.score.low) else f"{one.score.low:+.3f} to {one.score.high:+.3f}",
        "-" if one is None else number(one.corrected),
        f"{row.learnable_parameters:,}",
        f"{100 * row.share_of_parameters:.3g}",
        "-" if row.training_bytes is None else f"{row.training_bytes / 2**20:,.1f}",
        "-" if math.isnan(row.seconds) else f"{row.seconds:,.1f}",
        _index(row.ppe),
        _index(row.pme),
    )


def _mean(values: Sequence[float]) -> str:
    mean, deviation = spread(values)
    return number(mean) if math.isnan(deviation) else f"{mean:.3f} ({deviation:.3f})"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"


def _index(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def title_of(found: FPTArmComparison) -> str:
    """What this is, in a few words."""
    names = ", ".join(found.classes) if len(found.classes) <= 4 else f"{len(found.classes)} classes"
    return f"{names}: {len(found.rows)} ways to learn it"


def what_was_compared(found: FPTArmComparison) -> str:
    """Data, backbone, seeds."""
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    whose = f"; {found.patients:,} test patients" if found.patients_known else ""
    seeds = ", ".join(map(str, found.seeds))
    shuffled = " LABELS SHUFFLED among patients in training and validation." if found.shuffled else ""
    return f"{found.backbone}. Images: {counts}{whose}. Seeds {seeds}.{shuffled}"


def comparison_text(found: FPTArmComparison) -> str:
    """Table, advice, notes."""
    parts = [title_of(found), what_was_compared(found), "", aligned(comparison_rows(found)), ""]
    parts += ["Is it right for me?", *(f"  {sentence}" for sentence in advice_sentences(found)), ""]
    parts += [f"Note: {note}" for note in notes_of(found)]
    parts += [f"Left out: {name}, since {why}." for name, why in found.skipped.items()]
    return "\n".join(parts)
