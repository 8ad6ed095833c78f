"""Switches and lists as a command line hands them over, where ``false`` and ``['a', 'b']`` may arrive as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["fpt_flag", "names_given"]

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def fpt_flag(value: Any, name: str) -> bool:
    """A switch as a bool; ``python -m monai.bundle`` hands over ``false`` as a text, which Python takes for true.

    Args:
        value: a bool, 0 or 1, or one of the words true, false, yes, no in any case.
        name: of the id, for the message.

    Raises:
        ValueError: anything else.
    """
    known = _WORDS.get(str(value).strip().lower())
    if known is None:
        raise ValueError(f"{name}={value!r} is neither true nor false.")
    return known


def names_given(value: Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    """A list of names; a single text is an error, for its letters would be taken for names.

    Args:
        value: the names, or None.
        name: of the option, for the message.

    Raises:
        ValueError: a text.
    """
    if isinstance(value, str):
        raise ValueError(f"{name} is the text {value!r}, not a list of names; write for example ['a', 'b'].")
    return None if value is None else tuple(str(one) for one in value)
