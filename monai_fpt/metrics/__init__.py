"""Classification metrics that MONAI lacks: a functional core over pooled predictions and one thin metric class.

``functional`` holds pure functions that lean on scikit-learn, ``metric`` the MONAI class that pools a whole validation
(over all ranks) and calls one of them. Nothing here knows a handler, a tracker or a network.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.metrics.calibration import FPTCalibration, fit_calibration
from monai_fpt.metrics.functional import (
    FPT_SCORES,
    classification_scores,
    fpt_auc,
    fpt_class_auc,
    fpt_class_average_precision,
    official_auc,
)
from monai_fpt.metrics.metric import FPTClassificationMetric
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.weights import fpt_weights_sha256

__all__ = [
    "FPT_SCORES",
    "FPTCalibration",
    "FPTClassificationMetric",
    "FPTPredictions",
    "classification_scores",
    "fit_calibration",
    "fpt_auc",
    "fpt_class_auc",
    "fpt_class_average_precision",
    "fpt_weights_sha256",
    "official_auc",
]
