"""One line of configuration for one score.

MONAI attaches metrics to an engine through ``IgniteMetricHandler`` with a metric object and an output transform. The
network's engines always give ``pred`` (probabilities), ``logits`` and ``label``, so the two are known and only the
score is to be named.
"""

from __future__ import annotations

from monai.handlers import IgniteMetricHandler, from_engine

from monai_fpt.metrics import FPTClassificationMetric

__all__ = ["FPTMetricHandler"]


class FPTMetricHandler(IgniteMetricHandler):  # type: ignore[misc]  # monai is untyped
    """A score of ``monai_fpt.metrics`` as key or additional metric of a MONAI engine.

    The predictions of all ranks are gathered by MONAI. An undefined score is NaN; give the engine
    ``metric_cmp_fn=fpt_strictly_better`` so that a NaN of the first epoch does not stay the best for ever.

    Args:
        score: one of ``monai_fpt.metrics.FPT_SCORES``; ``"official_auc"`` reads ``logits``, all others ``pred``.
        task: ``"multiclass"`` (two classes as well) or ``"multilabel"``.

    Raises:
        ValueError: ``score`` or ``task`` is unknown, or the score does not exist for the task.
    """

    def __init__(self, score: str = "auc", task: str = "multiclass") -> None:
        keys = ["logits" if score == "official_auc" else "pred", "label"]
        super().__init__(
            metric_fn=FPTClassificationMetric(score=score, task=task),
            output_transform=from_engine(keys),
            save_details=False,  # MONAI's details are one tensor per image; ours are predictions and labels
        )
