"""The paper's indices of performance and cost (arXiv 2408.02426):

    PPE = score * exp(-log10(r + 1)),    PME = score * exp(-log10(m + 1))

with the learnable parameters r and the training memory m, both as a share of those of full fine-tuning of the same backbone. The
logarithms are of base ten in an exponential of base e, as the paper has it: full fine-tuning keeps 0.74 of its score.
"""

from __future__ import annotations

import math

__all__ = ["performance_index"]


def performance_index(score: float, share: float) -> float:
    """PPE or PME.

    Args:
        score: in any unit, such as the AUC in percent; the index has the same.
        share: learnable parameters or bytes over those of full fine-tuning, at least 0.

    Example:
        >>> round(performance_index(88.82, 1.0), 2), round(performance_index(87.12, 736 / 23128), 2)
        (65.73, 85.94)
    """
    if share < 0:
        raise ValueError(f"compare: a share of {share} of full fine-tuning is below 0; count again.")
    return score * math.exp(-math.log10(share + 1))
