"""Is it better? FPT+ and what one would take instead, on the same images, with the same backbone, in one table.

``run_comparison`` takes what ``monai-fpt train`` takes (ids of the bundle's configuration) and compares arms: FPT+ and its variants, probes
on cached tokens, tuning of the backbone. Each comparator is one file over a kept library, trained as its authors say; the harness alone
knows the labels of the test section.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.compare.arm import FPTArm, FPTArmData, FPTArmResult
from monai_fpt.compare.arms import ARM_GROUPS, FPT_ARMS, FPTArmInfo
from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.compare.in_bundle import compare_in_bundle
from monai_fpt.compare.quick import run_quick_comparison
from monai_fpt.compare.run import run_comparison
from monai_fpt.compare.shuffle import shuffled_labels

__all__ = [
    "ARM_GROUPS",
    "FPT_ARMS",
    "FPTArm",
    "FPTArmComparison",
    "FPTArmData",
    "FPTArmInfo",
    "FPTArmResult",
    "FPTArmRow",
    "compare_in_bundle",
    "run_comparison",
    "run_quick_comparison",
    "shuffled_labels",
]
