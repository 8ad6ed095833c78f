"""What is wrong with a request that an endpoint of MONAI Label stumbled over.

MONAI Label 0.8.5 reads the fields of a form as JSON and goes on as if every one were an object, writes files under the names that
clients gave them, and sends the file of an answer that has none. Each ends in an exception of Python's that says nothing to a
client. Here the request is looked at again when that has happened, and the reason is one sentence. Only what is seen in the
request itself is told; any other exception stays what it is.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

__all__ = ["misfit"]

_OBJECTS = {"params": '{"annotator": "me"}', "info": '{"patient": "P1"}', "wsi": '{"params": {}}'}
_LONGEST_NAME = 200
_UNPACKING = (shutil.ReadError, zipfile.BadZipFile, tarfile.TarError, EOFError)


def misfit(
    error: Exception, method: str, path: str, query: Mapping[str, str], form: Mapping[str, Any], kind: str | None
) -> tuple[int, str] | None:
    """Status and sentence for a request that raised an exception.

    Args:
        error: the exception.
        method: of the request.
        path: likewise.
        query: likewise.
        form: its fields: texts, and files that have a ``filename``.
        kind: of the infer task that was asked; None where none was.

    Returns:
        None where nothing is wrong with the request.

    Example:
        >>> misfit(TypeError(), "POST", "/infer/fpt", {}, {"params": "[1]"}, "classification")
        (400, 'The field params is a list; send a JSON object, for example {"annotator": "me"}.')
    """
    for name, example in _OBJECTS.items():
        text = form.get(name)
        if isinstance(text, str) and text:
            problem = _no_object(text)
            if problem:
                return 400, f"The field {name} is {problem}; send a JSON object, for example {example}."
    for file in form.values():
        sent_as = getattr(file, "filename", None)
        if isinstance(sent_as, str) and _is_odd(sent_as):
            return 400, (
                f"The file that was sent is named {sent_as[:40]!r}, which no file can be; send it under a plain name of at most "
                f"{_LONGEST_NAME} bytes, for example image.png."
            )
    if path.startswith("/session") and method == "PUT" and isinstance(error, _UNPACKING):
        return 422, f"The file that was sent cannot be unpacked ({_said(error)}); send a ZIP or TAR file that is whole."
    no_file = isinstance(error, TypeError) and "os.PathLike" in str(error)
    if no_file and kind == "classification" and query.get("output") == "image":
        return 400, "A classification has no image to send; ask for output=json, or ask fpt_saliency for a map."
    if type(error).__name__ == "ValidationError":  # pydantic's, of a field that MONAI Label reads by itself
        return 422, f"A field of the request cannot be used ({_said(error)}); mend it."
    return None


def _no_object(text: str) -> str | None:
    """What JSON is instead of an object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "no JSON that can be read"
    if isinstance(content, dict):
        return None
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(content), "a number")


def _is_odd(name: str) -> bool:
    plain = os.path.basename(name)
    return plain in ("", ".", "..") or "\0" in name or len(plain.encode(errors="replace")) > _LONGEST_NAME


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
