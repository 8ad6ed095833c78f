"""What the harness would give an arm, on a toy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuning_toys import toy_arm_data

from monai_fpt.compare.arm import FPTArmData


@pytest.fixture
def arm_data(tmp_path: Path) -> FPTArmData:
    return toy_arm_data(tmp_path)
