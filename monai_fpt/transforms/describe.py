"""A text that says what a chain of transforms does: two chains that differ in a class or a setting give two texts.

A feature cache must know how its images were read and prepared. Written by hand such a note is forgotten when the chain
changes; this one is read off the transforms themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["fpt_describe"]

_NOT_SETTINGS = {"R", "_do_transform", "_lazy", "_tracing", "tracing", "id"}


def fpt_describe(transform: Any) -> str:
    """Canonical JSON of the classes and plain settings of a transform, its parts and its readers.

    Args:
        transform: a MONAI transform, a ``Compose``, or any callable object.

    Returns:
        one line of JSON; equal for equal chains, in every process.
    """
    return json.dumps(_describe(transform, set()), sort_keys=True, separators=(",", ":"))


def _describe(value: Any, seen: set[int]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path | torch.dtype | torch.device | np.dtype):
        return str(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _describe(v, seen) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        parts = [_describe(v, seen) for v in value]
        return sorted(parts, key=str) if isinstance(value, set | frozenset) else parts
    if isinstance(value, type) or not hasattr(value, "__dict__") or hasattr(value, "__code__"):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if id(value) in seen:
        return "..."
    seen.add(id(value))
    settings = {k: v for k, v in vars(value).items() if k not in _NOT_SETTINGS}
    if "readers" in settings and settings.get("auto_select") is False:
        settings["readers"] = settings["readers"][-1:]  # the one asked for; the others depend on what is installed
    settings = {k: _describe(v, seen) for k, v in settings.items()}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **settings}
