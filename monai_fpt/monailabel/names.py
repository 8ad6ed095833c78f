"""Names of images and tags in requests, and the paths they may become. Pure: nothing here opens a file.

An image's id is its path within the studies folder, suffix included, with forward slashes: ``ward1/a.png``. So two images of
one stem stay two, and an id never changes meaning when a file is added. Nothing that a client sends becomes a path in any
other way than through these functions.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["LABELS_FOLDER", "checked_id", "checked_tag", "label_suffix", "named_for_readers", "path_within"]

LABELS_FOLDER = "labels"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}")
_LONGEST = 512
_DOUBLE = (".nii.gz", ".seg.nrrd", ".tar.gz")


def checked_id(image_id: str) -> str:
    """An image's id that may be made a path.

    Raises:
        ValueError: it climbs out of the folder, is absolute, hidden, too long, or lies where labels are.

    Example:
        >>> checked_id("ward1/a.png")
        'ward1/a.png'
    """
    parts = image_id.split("/")
    bad = (
        not image_id
        or len(image_id.encode()) > _LONGEST
        or "\\" in image_id
        or any(ord(letter) < 32 for letter in image_id)
        or any(part in ("", ".", "..") or part.startswith(".") for part in parts)
        or parts[0] == LABELS_FOLDER
        or re.match(r"[A-Za-z]:", image_id) is not None
    )
    if bad:
        raise ValueError(
            f"{image_id[:80]!r} cannot be an image's id; give a path within the studies folder, without '..' and hidden parts."
        )
    return image_id


def checked_tag(tag: str) -> str:
    """A label's tag that may be made a folder.

    Raises:
        ValueError: it has other characters than letters, digits, - and _.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(
            f"{tag[:80]!r} cannot be a label's tag; use letters, digits, '-' and '_', for example 'final'."
        )
    return tag


def label_suffix(filename: str) -> str:
    """The suffix of a label's file, of two parts where these belong together.

    Raises:
        ValueError: there is none.

    Example:
        >>> label_suffix("a.1.2.json"), label_suffix("x.nii.gz")
        ('.json', '.nii.gz')
    """
    name = Path(filename).name.lower()
    suffix = next((double for double in _DOUBLE if name.endswith(double)), Path(name).suffix)
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(
            f"The label's file {name[:80]!r} has no suffix that says its form; name it for example label.json."
        )
    return suffix


def path_within(folder: Path, name: str) -> Path:
    """A name of :func:`checked_id` as a path below a folder.

    Raises:
        ValueError: it would lie outside; nothing that is checked does.
    """
    path = folder.joinpath(*name.split("/"))
    if folder not in path.parents:
        raise ValueError(f"{name[:80]!r} lies outside of the folder; give a path within.")
    return path


def named_for_readers(text: str, path: str | Path, called: str) -> str:
    """A sentence about an image's file as a reader can use it: with the image's id instead of a path of the server, and with what can
    be done here where the file holds several frames.

    Example:
        >>> named_for_readers("cannot read image '/srv/studies/a.png': the file is empty; copy it again.", "/srv/studies/a.png", "a.png")
        "cannot read image 'a.png': the file is empty; copy it again."
    """
    told = " ".join((text.replace(str(path), called) if str(path) else text).split())
    before, found, _ = told.partition("give the data list a column 'frame'")
    return (
        f"{before}a reader sees one picture an image, so save each frame that counts as a file of its own."
        if found
        else told
    )
