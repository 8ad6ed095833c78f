"""One entry of a request as a file that the image reader can open.

An entry is text: an image file's bytes as base64 (plain, or as a ``data:`` address as browsers write it), or
``file:`` and a path below the folder that the server was told to serve.

Decisions:

- Text everywhere. MLflow decodes binary columns in some of its request forms and not in others, and refuses a whole
  batch for one bad row.
- Paths are refused unless ``MONAI_FPT_SERVE_ROOT`` names a folder, and never lead out of it, by ``..`` or by a link.
- An image's size is limited (``MONAI_FPT_SERVE_MAX_MB``, 64 by default) before it is decoded.
- The reader opens files only, so bytes lie in a private temporary folder for the moment of reading. ``TMPDIR`` says
  where; a folder in memory keeps them off the disk.
- An error's sentence never tells a path of the server.
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from monai_fpt.data import ImageReadError

__all__ = ["MAX_MB_VARIABLE", "ROOT_VARIABLE", "RequestLimits", "opened_entry"]

ROOT_VARIABLE = "MONAI_FPT_SERVE_ROOT"
MAX_MB_VARIABLE = "MONAI_FPT_SERVE_MAX_MB"
_DEFAULT_MB = 64.0
_MB = 1_000_000
_PATH = "file:"


class RequestLimits:
    """What a server lets a request do.

    Args:
        root: folder that ``file:`` entries lead into; None refuses them.
        max_mb: megabytes that one image file may have.

    Raises:
        ValueError: the folder does not exist, or the size is not above 0.
    """

    def __init__(self, root: str | Path | None = None, max_mb: float = _DEFAULT_MB) -> None:
        if root is not None and not Path(root).is_dir():
            raise ValueError(
                f'{ROOT_VARIABLE} is "{root}", which is no folder; name the folder whose images may be asked for.'
            )
        if not max_mb > 0:
            raise ValueError(f"{MAX_MB_VARIABLE} is {max_mb}; give megabytes above 0.")
        self.root = None if root is None else Path(root).resolve()
        self.max_bytes = int(max_mb * _MB)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> RequestLimits:
        """Limits as the process's environment says.

        Raises:
            ValueError: a size that is no number, or a folder that does not exist.
        """
        text = environment.get(MAX_MB_VARIABLE) or str(_DEFAULT_MB)
        try:
            max_mb = float(text)
        except ValueError as error:
            raise ValueError(f"{MAX_MB_VARIABLE} is {text!r}; give a number of megabytes, for example 64.") from error
        return cls(environment.get(ROOT_VARIABLE) or None, max_mb)


@contextmanager
def opened_entry(entry: object, limits: RequestLimits) -> Iterator[Path]:
    """A file with the image of one entry, for as long as the context lasts.

    Args:
        entry: base64 text, or ``file:`` and a path.
        limits: of the server.

    Raises:
        ImageReadError: the entry is empty, no base64, too large, or a path that is not served; or reading the file failed
            within the context, reworded so that no path of the server is told.
    """
    if not isinstance(entry, str) or not entry.strip():
        raise ImageReadError("the image is empty; send the bytes of an image file as base64 text.")
    text = entry.strip()
    if text.startswith(_PATH):
        path = _served_path(text[len(_PATH) :], limits)
        with _reworded(path, text[len(_PATH) :]):
            yield path
        return
    content = _decoded(text, limits)
    with tempfile.TemporaryDirectory(prefix="monai_fpt_") as folder:
        path = Path(folder) / f"image{_suffix(content)}"
        path.write_bytes(content)
        with _reworded(path, "of the request"):
            yield path


def _decoded(text: str, limits: RequestLimits) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    size = len(text) * 3 // 4
    if size > limits.max_bytes:
        raise _too_large(size, limits)
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageReadError(
            f"the image is no base64 text ({error}); send the file's bytes as standard base64, or file: and a path."
        ) from error
    if not content:
        raise ImageReadError("the image is empty; send the bytes of an image file as base64 text.")
    return content


def _too_large(size: int, limits: RequestLimits) -> ImageReadError:
    return ImageReadError(
        f"the image has {size / _MB:.1f} MB, this server takes up to {limits.max_bytes / _MB:g} MB; raise {MAX_MB_VARIABLE} there, or send a smaller file."
    )


def _served_path(text: str, limits: RequestLimits) -> Path:
    if limits.root is None:
        raise ImageReadError(
            f"this server takes no paths; send the file's bytes as base64, or start it with {ROOT_VARIABLE} set to a folder."
        )
    try:
        path = (limits.root / text).resolve()
        inside = path.is_relative_to(limits.root)
        found = inside and path.is_file()
    except (OSError, ValueError):  # too long, or a NUL in it
        inside = found = False
    if not found:
        raise ImageReadError(
            f"there is no file {text[:200]!r} below the folder that this server serves; give a path relative to it."
        )
    if path.stat().st_size > limits.max_bytes:
        raise _too_large(path.stat().st_size, limits)
    return path


def _is_bare_dicom(content: bytes) -> bool:
    """Whether it begins as DICOM without preamble: an element of group 0002 or 0008, little endian, with a type or a length that fits."""
    if content[:2] not in (b"\x02\0", b"\x08\0"):
        return False
    kind, length = content[4:6], int.from_bytes(content[4:8], "little")
    return (kind.isalpha() and kind.isupper()) or length <= len(content) - 8


def _suffix(content: bytes) -> str:
    """For the formats that the reader knows by name; DICOM and pictures it knows by content."""
    if content[128:132] == b"DICM" or _is_bare_dicom(content):
        return ".dcm"
    if content[344:348] in (b"n+1\0", b"n+2\0") or content[4:8] == b"n+2\0":
        return ".nii"
    if content[:2] == b"\x1f\x8b":
        return ".nii.gz"
    if content[:4] == b"NRRD":
        return ".nrrd"
    return ".npy" if content[:6] == b"\x93NUMPY" else ""


@contextmanager
def _reworded(path: Path, called: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        text = str(error).replace(f"'{path}'", called).replace(str(path), called).replace(str(path.parent), "")
        raise ImageReadError(text) from None
