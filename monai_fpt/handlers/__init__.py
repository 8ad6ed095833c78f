"""Handlers that a MONAI trainer or evaluator needs to train FPT models reliably and to leave a record of it.

``figures`` is not imported here: it needs matplotlib, which only a test or a report draws with.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.handlers._run_file import FPTTrackedRun, tracked_run
from monai_fpt.handlers._store import fpt_tracking_uri
from monai_fpt.handlers.checkpoint import FPTCheckpointHandler, fpt_strictly_better
from monai_fpt.handlers.class_weights import FPTClassWeightHandler
from monai_fpt.handlers.clip import FPTGradientClipHandler
from monai_fpt.handlers.errors import fpt_clear_errors, fpt_root_cause
from monai_fpt.handlers.executed import fpt_executed_config, fpt_log_run, fpt_sections, fpt_tracked_params
from monai_fpt.handlers.groups import FPTGroupScores, fpt_require_one_label
from monai_fpt.handlers.metric import FPTMetricHandler
from monai_fpt.handlers.predictions import FPTPredictionSaver
from monai_fpt.handlers.progress import FPTProgressHandler
from monai_fpt.handlers.run_checks import fpt_amp, fpt_check_preparing, fpt_flag, fpt_require_model
from monai_fpt.handlers.run_dir import fpt_prepare_run
from monai_fpt.handlers.seed import FPTEpochSeedHandler
from monai_fpt.handlers.sync import FPTSyncedRun, FPTSyncReport, sync_tracking
from monai_fpt.handlers.tracking import FPTTracker
from monai_fpt.handlers.tracking_handler import FPTTrackingHandler

__all__ = [
    "FPTCheckpointHandler",
    "FPTClassWeightHandler",
    "FPTEpochSeedHandler",
    "FPTGradientClipHandler",
    "FPTGroupScores",
    "FPTMetricHandler",
    "FPTPredictionSaver",
    "FPTProgressHandler",
    "FPTSyncReport",
    "FPTSyncedRun",
    "FPTTrackedRun",
    "FPTTracker",
    "FPTTrackingHandler",
    "fpt_amp",
    "fpt_check_preparing",
    "fpt_clear_errors",
    "fpt_executed_config",
    "fpt_flag",
    "fpt_log_run",
    "fpt_prepare_run",
    "fpt_require_model",
    "fpt_require_one_label",
    "fpt_root_cause",
    "fpt_sections",
    "fpt_strictly_better",
    "fpt_tracked_params",
    "fpt_tracking_uri",
    "sync_tracking",
    "tracked_run",
]
