"""The source files of a data set: fetched, and archives among them unpacked.

An archive's folder exists only when it was unpacked completely, so a folder that is there without its archive is taken
for the user's own copy and not fetched again; its images are counted when the data set is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin

from filelock import FileLock

from monai_fpt.data.datasets.published import FPTSourceFile
from monai_fpt.data.datasets.transfer import fetch_file
from monai_fpt.data.datasets.unpack import unpack_archive

__all__ = ["obtain_files", "root_lock"]


def root_lock(root: Path) -> FileLock:
    """A lock that one process at a time holds while it writes to a data set's folder."""
    return FileLock(root / ".fpt_download.lock")


def obtain_files(
    files: Sequence[FPTSourceFile], base_url: str, root: Path, *, progress: bool = True, wait: float = 2.0
) -> None:
    """Fetch and unpack what is missing.

    Args:
        files: what belongs to the data set.
        base_url: what their addresses are relative to, with a slash at the end.
        root: the folder they go to.
        progress: whether bars are shown.
        wait: see :func:`~monai_fpt.data.datasets.transfer.fetch_file`.

    Raises:
        RuntimeError: a file cannot be fetched or unpacked; what is done stays and is not done again.
    """
    with root_lock(root):
        for file in files:
            target = root / file.name
            folder = root / file.folder if file.folder else None
            if folder is not None and folder.is_dir() and not target.is_file():
                continue
            fetch_file(urljoin(base_url, file.url), target, md5=file.md5, progress=progress, wait=wait)
            if folder is not None:
                unpack_archive(target, folder, progress=progress)
