"""JSON and text files that appear whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_fpt.handlers._files import replace_file_content

__all__ = ["write_json", "write_text"]


def write_json(path: Path, content: Any) -> None:
    """Write plain content; what is no number (NaN) becomes null."""
    write_text(path, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file_content(path, text.encode("utf-8"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value
