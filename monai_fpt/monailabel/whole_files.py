"""Files that are there whole or not at all, and on the disk before they are."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import IO

__all__ = ["copy_whole", "write_whole"]


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file's content; folders are made where missing."""
    with source.open("rb") as file:
        write_whole(target, file)


def write_whole(target: Path, content: bytes | IO[bytes]) -> None:
    """Write a file beside, force it to the disk, and rename it into its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with beside.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
