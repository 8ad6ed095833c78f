"""Folders of a machine within texts: where they are, and texts without them.

A path tells who works where (``/home/ann/studies/melanoma_2024``). In a configuration it stands as a value, within a
``$`` expression, or in prose. Found are absolute paths as Linux and macOS, Windows, UNC and ``file:`` addresses write
them, also with the doubled backslashes of JSON and Python, and those that begin with ``~``. Decisions:

- A path begins at the start, after a blank, a quote, a bracket or one of ``=,;:|<>``; so ``and/or``, ``1/2/2024``, ``(a)/b/c``
  and the path of a web address are none.
- One in quotes ends with them and may hold blanks; another one ends with the next blank.
- ``@run_dir + '/models'`` holds no absolute path, and neither does ``'/models'``: a name after a ``+`` and a single one are left.
- Its last part is kept, as it says what was used; but of somebody's home nothing is.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["last_part", "private_paths", "without_folders"]

_BEFORE = r"(?<![^\s'\"`(\[{=,;:|<>“”„‘’‚«»→])"
_NAME = r"[^\s'\"`/\\,;:|<>()\[\]{}$@*?“”„‘’‚«»→]+"
_BACK = r"\\\\?"  # also doubled
_FILE = r"(?:(?i:file):/+|sqlite(?:\+\w+)?:///)(?:/|(?=[A-Za-z]:))|(?i:file):/+"  # sqlite:///x.db lies in the working directory
_STARTS = rf"(?:{_FILE}|[A-Za-z]:(?:{_BACK}|/)|\\\\(?:\\\\)?(?=\w)|//(?=\w)|~[\w.-]*/|/(?=[\w.]))"
_QUOTED = re.compile(rf"(?<=(['\"`])){_STARTS}[^'\"`\n]*?{_NAME}[^'\"`\n]*?(?=\1)")
_BARE = re.compile(
    rf"{_BEFORE}(?:"
    rf"(?:{_FILE})(?:[A-Za-z]:)?(?:[/\\]*{_NAME})+"
    rf"|[A-Za-z]:(?:{_BACK}|/){_NAME}(?:(?:{_BACK}|/){_NAME})*"
    rf"|\\\\(?:\\\\)?{_NAME}(?:{_BACK}{_NAME})+"
    rf"|//{_NAME}(?:/{_NAME})+"
    rf"|~[\w.-]*(?:/{_NAME})+"
    rf"|/{_NAME}(?:/{_NAME})+"
    r")[/\\]*"
    r"|(?P<address>(?:[A-Za-z][A-Za-z0-9+.-]+://|(?:models|runs|mlflow-artifacts):/)[^\s'\"`]*)"
)
_HOMES = {"home", "users"}
HOME = "~"


def last_part(path: str) -> str:
    """Of a path its last part; of a home folder ``~``.

    Example:
        >>> last_part("C:\\\\Users\\\\ann\\\\skin.csv"), last_part("/home/ann"), last_part("file:///mnt/study%201")
        ('skin.csv', '~', 'study 1')
    """
    text = unquote(path) if path.lower().startswith("file:") else path
    parts = [part for part in re.split(r"[\\/]+", text) if part]
    if len(parts) > 1 and parts[-2].lower() in _HOMES:
        return HOME
    return HOME if parts[-1:] == ["root"] else (parts[-1] if parts else text)


def private_paths(text: str) -> list[str]:
    """The absolute paths in a text, in order; ``/`` and ``/data`` are none."""
    return [text[start:end] for start, end in _found(text)]


def without_folders(text: str) -> str:
    """A text in which of every absolute path only the last part is left.

    Example:
        >>> without_folders("$monai.utils.read('/home/ann/skin/labels.csv') and/or https://example.org/a/b")
        "$monai.utils.read('labels.csv') and/or https://example.org/a/b"
    """
    for start, end in reversed(_found(text)):
        text = text[:start] + last_part(text[start:end]) + text[end:]
    return text


def _found(text: str) -> list[tuple[int, int]]:
    quoted = [found.span() for found in _QUOTED.finditer(text) if not _within(text, *found.span())]
    bare = [found.span() for found in _BARE.finditer(text) if found["address"] is None]
    outside = [span for span in bare if not any(start < span[1] and span[0] < end for start, end in quoted)]
    return sorted(quoted + [span for span in outside if not _within(text, *span)])


def _within(text: str, start: int, end: int) -> bool:
    """Whether a quoted path is a name below another one: ``@run_dir + '/models/best.pt'``, or ``'/models'``."""
    if text[start] != "/" or text[start : start + 2] == "//":
        return False
    return text[: max(start - 1, 0)].rstrip().endswith("+") or "/" not in text[start + 1 : end].rstrip("/")
