"""LabelFiles: what lies in the ``labels`` folder of the studies besides the labels themselves.

    labels/.info/final/a.png.json    what the client sent beside a label
    labels/.info/.images/a.png.json  what is known of an image (when it was served, to whom, its patient)
    labels/.history/final/a.png/     every label that was ever saved or removed, with its information

Decisions:

- Every piece of information has a file of its own, which appears whole or not at all. So no process can overwrite what
  another has written, and what belongs to an image is locked for as long as several files change together.
- Information is a JSON object that every answer can hold: one number that is none, or half a character, would break the listing of
  all images, so both are refused when they come.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_fpt._files import whole_file, write_whole
from monai_fpt.monailabel.names import label_suffix, path_within

__all__ = ["IMAGES", "LabelFiles", "checked_image_info", "checked_info", "copy_whole"]

IMAGES = ".images"  # stands where a tag stands, for information of images
_INFO, _HISTORY, _LOCKS = ".info", ".history", ".locks"


def checked_info(info: Any) -> dict[str, Any]:
    """Information as a client sent it, where it can be kept.

    Raises:
        ValueError: it is no JSON object, or holds what no answer can hold.

    Example:
        >>> checked_info({"annotator": "me"})
        {'annotator': 'me'}
    """
    if not isinstance(info, Mapping):
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(info), "a number")
        raise ValueError(
            f'What is sent beside an image or a label is {kind}; send a JSON object, for example {{"annotator": "me"}}.'
        )
    try:
        json.dumps(info, allow_nan=False, ensure_ascii=False, default=str).encode()
    except ValueError as error:
        raise ValueError(
            f"What is sent beside an image or a label cannot be kept ({error}); send numbers that are finite and texts that are Unicode."
        ) from error
    return dict(info)


def checked_image_info(info: Any) -> dict[str, Any]:
    """Likewise of an image: it becomes part of what the server tells of the image, and must not change that.

    Raises:
        ValueError: as :func:`checked_info`; or it names another image, or what the server itself writes.
    """
    known = checked_info(info)
    if "id" in known or not isinstance(known.get("strategy", {}), Mapping):
        raise ValueError(
            'What is known of an image has no "id", and "strategy" is an object that the server writes; leave both out.'
        )
    return known


class LabelFiles:
    """The files in a folder. Threads and processes may use one folder at the same time.

    Args:
        root: the ``labels`` folder of the studies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / _INFO / _LOCKS).mkdir(parents=True, exist_ok=True)

    def locked(self, image_id: str) -> FileLock:
        """Keeps other threads and processes off what belongs to an image; each call locks for itself."""
        bucket = zlib.crc32(image_id.encode()) % 256
        return FileLock(self.root / _INFO / _LOCKS / f"{bucket:02x}", poll_interval=0.01, thread_local=False)

    def read_info(self, kind: str, image_id: str) -> dict[str, Any]:
        """What is known of the label of a tag, or of an image (:data:`IMAGES`); empty where there is nothing."""
        try:
            content = json.loads(self._info_path(kind, image_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return content if isinstance(content, dict) else {}

    def write_info(self, kind: str, image_id: str, info: Mapping[str, Any]) -> None:
        """Replace it."""
        write_whole(self._info_path(kind, image_id), json.dumps(info, indent=1, default=str).encode())

    def update_info(self, kind: str, image_id: str, info: Mapping[str, Any]) -> None:
        """Add to it."""
        with self.locked(image_id):
            self.write_info(kind, image_id, self.read_info(kind, image_id) | dict(info))

    def remove_info(self, kind: str, image_id: str) -> None:
        """Remove it."""
        self._info_path(kind, image_id).unlink(missing_ok=True)

    def remember(self, image_id: str, tag: str, source: Path, suffix: str, info: Mapping[str, Any]) -> None:
        """Put a label into the history."""
        folder = self._history(image_id, tag)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        copy_whole(source, folder / f"{name}{suffix}")
        content = json.dumps({**info, "file": f"{name}{suffix}"}, indent=1, default=str)
        write_whole(folder / f"{name}.info.json", content.encode())

    def remember_found(self, image_id: str, tag: str, path: Path) -> None:
        """Put a label that another program wrote into the history, unless it is there."""
        folder = self._history(image_id, tag)
        content = path.read_bytes()
        kept = folder.iterdir() if folder.is_dir() else ()
        if any(p.stat().st_size == len(content) and p.read_bytes() == content for p in kept):
            return
        self.remember(image_id, tag, path, label_suffix(path.name), {"found": int(time.time())})

    def history(self, image_id: str, tag: str) -> list[dict[str, Any]]:
        """What was ever saved or removed, oldest first."""
        folder = self._history(image_id, tag)
        infos = sorted(folder.glob("*.info.json")) if folder.is_dir() else []
        return [json.loads(path.read_text(encoding="utf-8")) for path in infos]

    def was_saved(self, image_id: str, tag: str) -> bool:
        """Whether a label was ever saved here for an id."""
        folder = self.root / _HISTORY / tag / image_id
        return folder.is_dir() and any(entry.is_file() for entry in folder.glob("*.info.json"))

    def _history(self, image_id: str, tag: str) -> Path:
        return path_within(self.root / _HISTORY / tag, image_id)

    def _info_path(self, kind: str, image_id: str) -> Path:
        path = path_within(self.root / _INFO / kind, image_id)
        return path.with_name(path.name + ".json")


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file's content, whole or not at all."""
    with whole_file(target) as beside:
        shutil.copyfile(source, beside)
