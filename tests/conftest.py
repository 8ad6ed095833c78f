"""What holds for all tests: one thread, so that results are the same on every machine and tests beside each other do not wait for cores."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # commands that tests start inherit it
