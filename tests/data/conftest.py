"""Fixtures: the folder of real images, and small asymmetric pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest


@pytest.fixture
def real_data() -> Path:
    """Folder with ``dicom/``, ``cxr_ap_pa/`` and so on; tests that need it are skipped where it is not given."""
    folder = os.environ.get("MONAI_FPT_TEST_DATA")
    if not folder:
        pytest.skip("needs real images: set MONAI_FPT_TEST_DATA to the folder that contains dicom/ and others")
    return Path(folder)


@pytest.fixture
def colour() -> npt.NDArray[np.uint8]:
    """(5, 7, 3) random 8-bit picture: no symmetry hides a flip or a transposition."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def grey16() -> npt.NDArray[np.uint16]:
    """(5, 7) random 16-bit picture with its ends."""
    values = np.random.default_rng(1).integers(0, 65536, (5, 7), dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    return values
