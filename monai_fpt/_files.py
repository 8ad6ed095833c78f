"""Files that appear whole or not at all, and what a file is recognised by. Every room writes its files this way.

Content is written to a hidden neighbour of the target, forced to the disk and moved over the target in one step of the file system; until
then the old file is untouched. Neighbours have names of their own, so that threads and processes never write into each other's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["file_sha256", "whole_file", "write_whole"]

_CHUNK = 2**20


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give the path of a neighbour; what is written there becomes ``target`` when the block ends, and is gone when it fails.

    Args:
        target: the file; its folder is made when missing.

    Raises:
        OSError: the folder or file cannot be written; what ``target`` held before is unchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(target.parent)


def write_whole(target: Path, content: str | bytes) -> None:
    """Make ``target`` hold ``content`` (text as UTF-8), or leave it as it was; see :func:`whole_file`."""
    with whole_file(target) as beside:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def file_sha256(path: str | Path) -> str:
    """sha256 (64 hex digits) of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Force the new name itself to the disk where the platform can (Windows cannot open a folder)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
