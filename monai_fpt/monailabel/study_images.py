"""Which images lie in a studies folder, and which of them a name means."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from monai_fpt.data import image_suffixes, is_image_file
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.names import LABELS_FOLDER

__all__ = ["StudyImages", "image_stem"]

_FRESH = 2.0  # seconds for which a listing of the folder is believed
_NO_IMAGES = {".json", ".csv", ".txt", ".xml", ".html", ".log", ".zip", ".md", ".xlsx", ".pdf", ".lock", ".tmp"}


def image_stem(image_id: str) -> str:
    """An id without the suffix of its image.

    Example:
        >>> image_stem("ward1/a.PNG"), image_stem("1.2.840.1")
        ('ward1/a', '1.2.840.1')
    """
    lowered = image_id.lower()
    known = (suffix for suffix in sorted(image_suffixes(), key=len, reverse=True) if lowered.endswith(suffix))
    suffix = next(known, "")
    return image_id[: len(image_id) - len(suffix)] if suffix else image_id


class StudyImages:
    """The images of a folder, in any depth. Threads may use one object at the same time.

    Args:
        root: the folder; ``labels`` in it and hidden folders are passed over.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, Path] = {}
        self._stems: dict[str, list[str]] = {}
        self._listed = 0.0
        self._kinds: dict[str, bool] = {}
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """List the folder again."""
        paths: dict[str, Path] = {}
        for folder, folders, files in os.walk(self.root, followlinks=True):
            hidden = {LABELS_FOLDER} if Path(folder) == self.root else set()
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in hidden)
            for file in sorted(files):
                path = Path(folder, file)
                if self._is_image(path):
                    paths[path.relative_to(self.root).as_posix()] = path
        stems: dict[str, list[str]] = {}
        for image_id in paths:
            stems.setdefault(image_stem(image_id), []).append(image_id)
        with self._lock:
            self.paths, self._stems, self._listed = paths, stems, time.monotonic()

    def ids(self) -> list[str]:
        """Ids of all images."""
        if time.monotonic() - self._listed > _FRESH:
            self.refresh()
        return list(self.paths)

    def resolve(self, image_id: str) -> str:
        """The id that a request means: itself, or the one image of that stem.

        Raises:
            RequestError: 404, no such image, or several of that stem.
        """
        for attempt in range(2):
            if image_id in self.paths:
                return image_id
            alike = self._stems.get(image_id, [])
            if len(alike) == 1:
                return alike[0]
            if len(alike) > 1:
                raise RequestError(
                    404, f"Several images have the stem {image_id!r}: {', '.join(alike[:5])}; give the whole id."
                )
            if attempt == 0:
                self.refresh()
        raise RequestError(
            404,
            f"There is no image {image_id[:80]!r} in the studies folder; GET /datastore/?output=all lists all ids.",
        )

    def of_label(self, name: str) -> str | None:
        """The image that a label's file is of, by its name without one or more suffixes."""
        if Path(name).name.startswith("."):
            return None
        stem = name
        while "." in Path(stem).name:
            stem = stem.rpartition(".")[0]
            if stem in self.paths:
                return stem
            alike = self._stems.get(stem, [])
            if len(alike) == 1:
                return alike[0]
        return None

    def _is_image(self, path: Path) -> bool:
        name = path.name.lower()
        if name.startswith(".") or path.suffix.lower() in _NO_IMAGES:
            return False
        if name.endswith(image_suffixes()):
            return True
        known = self._kinds.get(str(path))
        if known is None:
            known = self._kinds[str(path)] = _looks_like_image(path)
        return known


def _looks_like_image(path: Path) -> bool:
    try:
        return is_image_file(path)
    except OSError:
        return False
