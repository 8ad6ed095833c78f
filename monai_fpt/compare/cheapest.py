"""Which arm is the cheapest to train: a choice that two runs of the same comparison make alike.

Seconds are those of a machine that does other things too, so that they decide only where they differ by more than a factor of two. Among
arms that are equally quick the bytes of a training step decide, then learnable parameters, which are counted. An ablation is no method to
choose: it is taken only where nothing else is as quick.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai_fpt.compare.ablation import ABLATION_SOURCES
from monai_fpt.compare.comparison import FPTArmRow

__all__ = ["CHEAPEST_RULE", "cheapest_row"]

_AS_QUICK = 2.0  # times the least seconds
CHEAPEST_RULE = (
    "Cheapest to train: the least seconds; arms that take up to twice as many count as equally quick, and of those the bytes of a step "
    "decide, then learnable parameters; an ablation is taken only where nothing else is as quick."
)
"""The rule in one sentence."""


def cheapest_row(rows: Sequence[FPTArmRow], reference: str) -> FPTArmRow:
    """The cheapest of some arms.

    Args:
        rows: at least one; those whose seconds are not known take part only where none's are.
        reference: taken where all else is the same.
    """
    timed = [row for row in rows if row.seconds == row.seconds]
    least = min((row.seconds for row in timed), default=0.0)
    quick = [row for row in timed if row.seconds <= _AS_QUICK * least] or list(rows)
    own = [row for row in quick if row.info.source not in ABLATION_SOURCES or row.name == reference]
    return min(own or quick, key=lambda row: (row.training_bytes or 0, row.learnable_parameters, row.name != reference))
