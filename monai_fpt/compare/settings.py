"""Settings of an arm that are numbers: what is none, or out of its range, is refused with the name of arm and setting."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["require_number", "require_whole", "several_numbers"]


def several_numbers(arm: str, name: str, value: Any, *, whole: bool = False) -> tuple[Any, ...]:
    """A list of numbers as a tuple of floats, or of whole numbers.

    Raises:
        ValueError: it is no list of such numbers, or empty.

    Example:
        >>> several_numbers("knn", "ks", [5, 10], whole=True)
        (5, 10)
    """
    kind = "whole numbers" if whole else "numbers"
    listed = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else None
    if listed is None or not all(_is_number(one, whole) for one in listed):
        example = "[5, 10]" if whole else "[0.001, 0.0001]"
        raise ValueError(f"{arm}: {name}={value!r} must be a list of {kind}, such as {example}.")
    if not listed:
        raise ValueError(f"{arm}: {name} is empty; give at least one of its {kind}.")
    return tuple(int(one) if whole else float(one) for one in listed)


def require_whole(arm: str, least: int = 1, **values: Any) -> None:
    """Refuse what is no whole number of at least ``least``; settings by name.

    Raises:
        ValueError: says which.
    """
    for name, value in values.items():
        if not isinstance(value, numbers.Integral) or not _is_number(value, True) or value < least:
            raise ValueError(f"{arm}: {name}={value!r} must be a whole number of at least {least}.")


def require_number(arm: str, low: float, high: float = math.inf, **values: Any) -> None:
    """Refuse what is no number from ``low`` to ``high``; settings by name.

    Raises:
        ValueError: says which.
    """
    for name, value in values.items():
        if not _is_number(value, False) or not low <= value <= high:
            told = f"of at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise ValueError(f"{arm}: {name}={value!r} must be a number {told}.")


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return math.isfinite(value) and (not whole or value % 1 == 0)
