"""What the harness would give an arm, on a toy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tuning_toys import toy_arm_data

from monai_fpt.compare.arm import FPTArmData


@pytest.fixture
def arm_data(tmp_path: Path) -> FPTArmData:
    torch.set_num_threads(1)
    return toy_arm_data(tmp_path)
