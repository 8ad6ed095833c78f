"""Many experiments on one cache: cross-validation, seeds and hyper-parameter search that never read an image twice.

``run_cross_validation`` and ``run_search`` take what ``monai-fpt train`` takes (ids of the bundle's configuration), train
as many networks side by side as asked for, and leave a run folder for each. The way is the bundle's own: a fold or a trial
is what the bundle would have trained with the same settings, within rounding; where a configuration asks for what the
shared loop does not do, the bundle itself runs, one training after the other.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.experiments.cross_validation import FPTCrossValidation, run_cross_validation
from monai_fpt.experiments.folds import fold_lists
from monai_fpt.experiments.member import FPTMemberPlan
from monai_fpt.experiments.search import FPTSearch, FPTTrial, run_search
from monai_fpt.experiments.space import DEFAULT_SPACE
from monai_fpt.experiments.stack import FPTRandomStream, FPTStack

__all__ = [
    "DEFAULT_SPACE",
    "FPTCrossValidation",
    "FPTMemberPlan",
    "FPTRandomStream",
    "FPTSearch",
    "FPTStack",
    "FPTTrial",
    "fold_lists",
    "run_cross_validation",
    "run_search",
]
