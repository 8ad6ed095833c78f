"""Which images lie in a studies folder, and which of them a name means."""

from __future__ import annotations

import functools
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

_SUFFIX_BYTES = 9  # of the longest suffix of a label, see label_suffix
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
    suffix = next((suffix for suffix in _longest_first() if lowered.endswith(suffix)), "")
    return image_id[: len(image_id) - len(suffix)] if suffix else image_id


class StudyImages:
    """The images of a folder, in any depth. Threads may use one object at the same time.

    Args:
        root: the folder; ``labels`` in it and hidden folders are passed over.

    Attributes:
        paths: id to file.
        problems: images that are not listed, and why.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, Path] = {}
        self._stems: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}  # without their folders
        self._listed = 0.0
        self._kinds: dict[str, tuple[int, int, bool]] = {}
        self._longest = _longest_name(root)
        self.problems: dict[str, str] = {}
        self.strays: dict[str, str] = {}  # files of labels that were asked about and belong to no image, and why
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """List the folder again."""
        paths: dict[str, Path] = {}
        problems: dict[str, str] = {}
        waiting = [""]
        while waiting:
            waiting += reversed(self._list(waiting.pop(), paths, problems))
        stems: dict[str, list[str]] = {}
        bare: dict[str, list[str]] = {}
        for image_id in paths:
            stem = image_stem(image_id)
            stems.setdefault(stem, []).append(image_id)
            if stem != image_id:
                bare.setdefault(stem.rpartition("/")[2], []).append(image_id)
        with self._lock:
            new = [text for what, text in problems.items() if self.problems.get(what) != text]
            self.paths, self._stems, self._bare, self._listed = paths, stems, bare, time.monotonic()
            self.problems = problems
        for text in new:
            logger.warning("%s", text)

    def unfit(self, image_id: str) -> str | None:
        """Why an image cannot be listed under its path, with how to mend it; None where it can."""
        try:
            image_id.encode()
        except UnicodeEncodeError:
            return "its name is not UTF-8; rename the file"  # an answer that holds it would break every listing
        length = len(image_id.rpartition("/")[2].encode())
        if length > self._longest:
            return f"its name has {length} bytes, and with a label's suffix it would be too long; rename it to at most {self._longest}"
        return None

    def ids(self) -> list[str]:
        """Ids of all images."""
        if time.monotonic() - self._listed > _FRESH:
            self.refresh()
        return list(self.paths)

    def resolve(self, image_id: str) -> str:
        """The id that a request means: itself, or the one image of that stem, in whatever folder where none is named.

        A client that keeps images by their names, as QuPath does, asks for the stem alone. A name with its suffix is no such question:
        it is the id of an image that was there, and never means another.

        Raises:
            RequestError: 404, no such image, or several of that stem.
        """
        for attempt in range(2):
            if image_id in self.paths:
                return image_id
            alike = self._stems.get(image_id) or self._bare.get(image_id, [])
            if len(alike) == 1:
                return alike[0]
            if len(alike) > 1:
                raise RequestError(
                    404, f"Several images have the stem {image_id!r}: {', '.join(alike[:5])}; give the whole id."
                )
            if attempt == 0:
                self.refresh()
        if _shown(image_id) in self.problems:
            raise RequestError(422, self.problems[_shown(image_id)])
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
        if name.endswith(".json") and name[:-5] in self.paths:  # nearly all that were saved here
            return name[:-5]
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
        if self.strays.get(name) != why:
            logger.warning(
                'The label "%s" is not read: %s; name it after the id of its image, suffix included.', name, why
            )
        self.strays[name] = why
        return None

    def _list(self, inside: str, paths: dict[str, Path], problems: dict[str, str]) -> list[str]:
        """Add the images of one folder, and give the folders in it. Of most files nothing is asked but their name and kind, which
        come with the listing: thousands of images are listed while a reader waits."""
        folders = []
        try:
            with os.scandir(self.root / inside) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            shown = _shown(inside.rstrip("/"))
            problems[shown] = (
                f"The folder {shown} is not listed: {error.strerror}; mend that, or take it out of the studies."
            )
            return []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            image_id = inside + entry.name
            if _is_folder(entry):
                if image_id != LABELS_FOLDER and not self._climbs(entry):
                    folders.append(f"{image_id}/")
            elif self._is_image(entry):
                unfit = self.unfit(image_id)
                if unfit:
                    problems[_shown(image_id)] = f"The image {_shown(image_id)} is not listed: {unfit}."
                else:
                    paths[image_id] = self.root / image_id
        return folders

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        name = entry.name.lower()
        if os.path.splitext(name)[1] in _NO_IMAGES or not entry.is_file():
            return False
        if name.endswith(image_suffixes()):
            return True
        try:
            facts = entry.stat()
        except OSError:
            return False
        known = self._kinds.get(entry.path)
        if known is None or known[:2] != (facts.st_size, facts.st_mtime_ns):  # it may still be arriving
            known = self._kinds[entry.path] = (facts.st_size, facts.st_mtime_ns, _looks_like_image(Path(entry.path)))
        return known[2]

    def _climbs(self, folder: os.DirEntry[str]) -> bool:
        """Whether a folder is a link to one that it lies in, which would be listed without end."""
        if not folder.is_symlink():
            return False
        real = Path(os.path.realpath(folder.path))
        home = Path(os.path.realpath(os.path.dirname(folder.path)))
        return real == home or real in home.parents


@functools.cache
def _longest_first() -> tuple[str, ...]:
    return tuple(sorted(image_suffixes(), key=len, reverse=True))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _longest_name(folder: Path) -> int:
    """Bytes that an image's name may have, so that its label's name is none too long for the file system."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX") - _SUFFIX_BYTES
    except (AttributeError, OSError, ValueError):
        return 255 - _SUFFIX_BYTES


def _shown(name: str) -> str:
    """A file's name as any answer can hold it."""
    return (
        ascii(os.fsencode(name))[1:]
        if not name.isprintable() or any("\udc80" <= c <= "\udcff" for c in name)
        else repr(name)
    )


def _looks_like_image(path: Path) -> bool:
    try:
        return is_image_file(path)
    except OSError:
        return False
