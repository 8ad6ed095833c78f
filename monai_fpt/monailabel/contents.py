"""ImageContents: the SHA-256 of image files, computed once for each state that the file system tells apart.

Its size and the time that a program may set are no proof that a file is what it was: whoever exchanges an image can give it the time of
the one before. The time of the last change of its entry (``ctime``) cannot be set, so a file of which all are the same is the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt._files import file_sha256

__all__ = ["ImageContents", "file_state"]


def file_state(path: str | Path) -> tuple[int, ...]:
    """Changes whenever a file's content, its time or its place is changed; empty where it is not there."""
    try:
        facts = os.stat(path)
    except OSError:
        return ()
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class ImageContents:
    """What was hashed. Threads may use one object at the same time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}

    def sha256(self, path: str | Path) -> str:
        """Of a file's present content.

        Raises:
            OSError: it cannot be read.
        """
        state = file_state(path)
        known = self._known.get(str(path))
        if known is None or known[0] != state:
            known = self._known[str(path)] = (state, file_sha256(path))
        return known[1]

    def facts(self, path: str | Path) -> dict[str, Any]:
        """What is kept with a label, so that a later process need not hash a file that nobody has touched.

        Raises:
            OSError: it cannot be read.
        """
        return {"image_state": list(file_state(path)), "image_sha256": self.sha256(path)}

    def present(self, path: str | Path, facts: Mapping[str, Any]) -> str:
        """The SHA-256 of a file's present content, with what :meth:`facts` said of it once.

        Raises:
            OSError: it cannot be read.
        """
        state = file_state(path)
        kept, known = facts.get("image_sha256"), facts.get("image_state")
        if isinstance(kept, str) and isinstance(known, list) and state and tuple(known) == state:
            return kept
        return self.sha256(path)
