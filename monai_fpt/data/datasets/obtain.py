"""The source files of a data set: fetched, and archives among them unpacked.

A folder that is there without its archive is taken for the user's own copy and not fetched again. An empty one is none;
one with fewer images than published is an error, because nothing can tell which ones it lacks before the archive is
there, and the user's own files are neither mixed with others nor removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin

from filelock import FileLock

from monai_fpt.data.datasets.files import files_below, has_image_suffix
from monai_fpt.data.datasets.published import FPTSourceFile
from monai_fpt.data.datasets.transfer import fetch_file
from monai_fpt.data.datasets.unpack import is_empty_folder, unpack_archive

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
        RuntimeError: a file cannot be fetched or unpacked, or a folder without its archive has fewer images than
            published; what is done stays and is not done again.
    """
    with root_lock(root):
        for file in files:
            target = root / file.name
            folder = root / file.folder if file.folder else None
            if folder is not None and not target.is_file() and folder.is_dir() and not is_empty_folder(folder):
                _require_images(folder, file)
                continue
            fetch_file(urljoin(base_url, file.url), target, md5=file.md5, progress=progress, wait=wait)
            if folder is not None:
                unpack_archive(target, folder, progress=progress)


def _require_images(folder: Path, file: FPTSourceFile) -> None:
    """A folder without its archive is a whole copy."""
    files = files_below(folder)
    there = sum(1 for path in files if has_image_suffix(path))
    if not files or there < file.images:
        what = f"{there:,} of {file.images:,} images" if file.images else "no file"
        raise RuntimeError(
            f"download: folder {str(folder)!r} has {what} and {file.name!r} is not beside it; complete the folder, or "
            "remove it and run it again, then it is fetched."
        )
