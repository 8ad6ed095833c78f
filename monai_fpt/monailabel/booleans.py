"""One reading of true and false, for the command line, forms and JSON: no word is silently taken for false."""

from __future__ import annotations

from typing import Any

__all__ = ["is_true"]

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


def is_true(value: Any, name: str = "value") -> bool:
    """What clients and the command line mean by a truth.

    Args:
        value: a truth, a number, a word, or None for false.
        name: what the message calls it.

    Raises:
        ValueError: a word that is neither.

    Example:
        >>> is_true("Yes"), is_true("off"), is_true(None)
        (True, False, False)
    """
    if not isinstance(value, str):
        return bool(value)
    word = value.strip().lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(f"{name} {value[:40]!r} is neither true nor false; write one of these two.")
    return word in _TRUE
