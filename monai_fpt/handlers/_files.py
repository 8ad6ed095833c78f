"""Files that appear whole or not at all.

A training is killed, or the disk fills, at any moment. Content is therefore written to a neighbour of the target,
forced to the disk and moved over the target in one step of the file system; until that step the old file is untouched.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["replace_file_content"]


def replace_file_content(path: Path, content: bytes) -> None:
    """Make ``path`` hold ``content``, or leave it as it was.

    Args:
        path: the file; its folder is made when missing.
        content: all of the new content.

    Raises:
        OSError: the folder or file cannot be written, for instance because the disk is full.
    """
    beside = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}); what it held before is unchanged: "
            "free space or give another folder, then run again",
        ) from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force the new name itself to the disk where the platform can (Windows cannot open a folder)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
