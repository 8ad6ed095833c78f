"""Evaluation reports: scores with intervals over patients, as a printed table, JSON and one HTML page.

``evaluate_predictions`` scores what an evaluation left behind (:class:`~monai_fpt.metrics.FPTPredictions`), ``compare_predictions``
two networks on the same images, ``save_report`` writes the page, and ``fpt_write_report`` does all of it for a folder.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.report.compare import FPTComparison, FPTDifference, compare_predictions
from monai_fpt.report.evaluate import evaluate_predictions
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.heat import fpt_heat_maps
from monai_fpt.report.pictures import fpt_thumbnails
from monai_fpt.report.run import fpt_report_run
from monai_fpt.report.save import fpt_write_report, save_report
from monai_fpt.report.score import FPTScore
from monai_fpt.report.subgroups import FPTSubgroup
from monai_fpt.report.worst import FPTError, worst_errors

__all__ = [
    "FPTComparison",
    "FPTDifference",
    "FPTError",
    "FPTEvaluation",
    "FPTScore",
    "FPTSubgroup",
    "compare_predictions",
    "evaluate_predictions",
    "fpt_heat_maps",
    "fpt_report_run",
    "fpt_thumbnails",
    "fpt_write_report",
    "save_report",
    "worst_errors",
]
