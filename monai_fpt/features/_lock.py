"""Advisory file locks where the system has them (POSIX); elsewhere every lock is granted."""

from __future__ import annotations

from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["try_lock"]


def try_lock(file: IO[Any]) -> bool:
    """Take the exclusive lock of an open file without waiting; it is released when the file is closed or its process
    ends.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
