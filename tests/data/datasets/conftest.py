"""Fixtures: a web server, the reference label files, and silence about partial copies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import LocalSite, local_site


@pytest.fixture
def site() -> Iterator[LocalSite]:
    with local_site() as running:
        yield running


@pytest.fixture
def label_files() -> Path:
    """Folder of the real label files; tests that need it are skipped where it is not given."""
    folder = os.environ.get("MONAI_FPT_TEST_DATA")
    if not folder:
        pytest.skip("needs the real label files: set MONAI_FPT_TEST_DATA to the folder that contains label_files/")
    return Path(folder) / "label_files"
