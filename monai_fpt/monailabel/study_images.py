"""Which images lie in a studies folder, and which of them a name means."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from monai_fpt.data import image_suffixes, is_image_file
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.names import LABELS_FOLDER, label_suffix

__all__ = ["StudyImages", "image_stem"]

_FRESH = 2.0  # seconds for which a listing of the folder is believed
_NO_IMAGES = {".json", ".csv", ".txt", ".xml", ".html", ".log", ".zip", ".md", ".xlsx", ".pdf", ".lock", ".tmp"}


logger = logging.getLogger(__name__)


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
        self._kinds: dict[str, tuple[int, int, bool]] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """List the folder again."""
        paths: dict[str, Path] = {}
        for folder, folders, files in os.walk(self.root, followlinks=True):
            hidden = {LABELS_FOLDER} if Path(folder) == self.root else set()
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and name not in hidden and not self._climbs(Path(folder, name))
            )
            for file in sorted(files):
                path = Path(folder, file)
                if self._is_image(path) and self._is_named(path):
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

    def of_label(self, name: str, saved_for: Callable[[str], bool] = lambda image_id: False) -> str | None:
        """The image that a label's file is of, by its name without the label's suffix.

        Args:
            name: of the label's file, within the folder of its tag.
            saved_for: whether a label was once saved here for an id. Such a label is of that image alone, and of none once
                the image is gone: a sibling of its stem never inherits it.
        """
        try:
            suffixes = (label_suffix(name), Path(name).suffix)
        except ValueError:
            return None
        if Path(name).name.startswith("."):
            return None
        begins = [name[: len(name) - len(suffix)] for suffix in suffixes if suffix]
        exact = next((stem for stem in begins if stem in self.paths), None)
        if exact is not None:
            return exact
        stem = begins[0]
        alike = self._stems.get(stem, [])
        if len(alike) == 1 and image_stem(stem) == stem and not any(map(saved_for, begins)):
            return alike[0]
        why = f"several images have its stem ({', '.join(alike[:5])})" if len(alike) > 1 else "its image is not there"
        self._tell(name, f'The label "{name}" is not read: {why}; name it after the id of its image, suffix included.')
        return None

    def _is_image(self, path: Path) -> bool:
        name = path.name.lower()
        if name.startswith(".") or path.suffix.lower() in _NO_IMAGES or not path.is_file():
            return False
        if name.endswith(image_suffixes()):
            return True
        try:
            facts = path.stat()
        except OSError:
            return False
        known = self._kinds.get(str(path))
        if known is None or known[:2] != (facts.st_size, facts.st_mtime_ns):  # it may still be arriving
            known = self._kinds[str(path)] = (facts.st_size, facts.st_mtime_ns, _looks_like_image(path))
        return known[2]

    def _is_named(self, path: Path) -> bool:
        """Whether an answer can hold the name; one that is no UTF-8 would break every listing."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            name = ascii(os.fsencode(path.name))
            self._tell(str(path), f"The image {name} is not listed: its name is not UTF-8; rename the file.")
            return False
        return True

    def _climbs(self, folder: Path) -> bool:
        """Whether a folder is a link to one that it lies in, which would be listed without end."""
        if not folder.is_symlink():
            return False
        real = Path(os.path.realpath(folder))
        home = Path(os.path.realpath(folder.parent))
        return real == home or real in home.parents

    def _tell(self, what: str, reason: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s", reason)


def _looks_like_image(path: Path) -> bool:
    try:
        return is_image_file(path)
    except OSError:
        return False
