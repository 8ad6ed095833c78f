"""JSON and text files that appear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.handlers._files import replace_file_content

__all__ = ["finite_json", "write_json", "write_text"]


def write_json(path: Path, content: Any) -> None:
    """Write plain content; what is no number (NaN) becomes null."""
    write_text(path, json.dumps(finite_json(content), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file_content(path, text.encode("utf-8"))


def finite_json(value: Any) -> Any:
    """The value in plain containers; null for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(name): finite_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(one) for one in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value
