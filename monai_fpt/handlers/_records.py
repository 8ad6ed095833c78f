"""What goes into a tracked run, brought into the form that MLflow accepts: keys, parameter texts, error lines.

Pure functions. MLflow refuses a whole batch for one odd character in a key or one text that is too long; a tracked
training should neither stop for that nor lose the other values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from monai_fpt.handlers._addresses import hidden_text

__all__ = ["clean_keys", "error_line", "flat_params", "param_text"]

KEY_LIMIT = 250
TEXT_LIMIT = 6000
ERROR_LIMIT = 300
NO_CAUSE = "(raised as a result of"  # SQLAlchemy's advice to programmers stands in front of what is wrong


def clean_key(key: str) -> str:
    """``key`` with everything that MLflow refuses replaced by ``_``: letters, digits, ``_-. /`` stay."""
    parts = [part.strip() for part in re.sub(r"[^\w.\- /]", "_", str(key)).split("/")]
    cleaned = "/".join(part for part in parts if part not in ("", ".", "..")) or "_"
    if len(cleaned) > KEY_LIMIT:
        cleaned = f"{cleaned[: KEY_LIMIT - 9]}_{hashlib.sha256(cleaned.encode()).hexdigest()[:8]}"
    return cleaned


def clean_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` under cleaned keys; of keys that become equal the later ones get ``_2``, ``_3``, ..."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = base = clean_key(key)
        number = 1
        while name in result:
            number += 1
            name = f"{base[: KEY_LIMIT - 6]}_{number}"
        result[name] = value
    return result


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as one level of texts, keys joined by ``.``; lists become JSON."""
    result: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            result.update(flat_params(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = param_text(value)
    return result


def param_text(value: Any) -> str:
    """A parameter as text of at most 6000 characters, without passwords; a longer one is cut and says so."""
    text = hidden_text(json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value))
    if len(text) <= TEXT_LIMIT:
        return text
    note = f" [cut, {len(text)} characters]"
    return text[: TEXT_LIMIT - len(note)] + note


def error_line(error: BaseException) -> str:
    """An exception as ``Type: one line``, paths replaced by ``<path>``: file names are not for a tracking server."""
    lines = (line for line in str(error).splitlines() if not line.startswith(NO_CAUSE))
    message = hidden_text(next(lines, ""))
    message = re.sub(r"(['\"])[^'\"]*[\\/][^'\"]*\1", "<path>", message)
    message = re.sub(r"\S*[\\/]\S*", "<path>", message)
    return f"{type(error).__name__}: {message}"[:ERROR_LIMIT].rstrip(": ")
