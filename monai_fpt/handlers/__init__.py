"""Handlers that a MONAI trainer or evaluator needs to train FPT models reliably and to leave a record of it."""

from __future__ import annotations

from monai_fpt.handlers.checkpoint import FPTCheckpointHandler, fpt_strictly_better
from monai_fpt.handlers.metric import FPTMetricHandler
from monai_fpt.handlers.seed import FPTEpochSeedHandler

__all__ = ["FPTCheckpointHandler", "FPTEpochSeedHandler", "FPTMetricHandler", "fpt_strictly_better"]
