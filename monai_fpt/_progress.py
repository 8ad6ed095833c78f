"""One progress bar for every room: tqdm, which in a log file writes now and then and not at every batch."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from tqdm import tqdm

__all__ = ["tqdm_bar"]

_Item = TypeVar("_Item")
_SECONDS_ON_A_TERMINAL, _SECONDS_IN_A_LOG = 0.1, 10.0


@overload
def tqdm_bar(over: None = None, *, progress: bool, **options: Any) -> tqdm[Any]: ...
@overload
def tqdm_bar(over: Iterable[_Item], *, progress: bool, **options: Any) -> tqdm[_Item]: ...
def tqdm_bar(over: Iterable[Any] | None = None, *, progress: bool, **options: Any) -> tqdm[Any]:
    """A tqdm bar on the error stream.

    Args:
        over: what is walked through; None where ``update`` is called by hand.
        progress: False draws nothing.
        options: of tqdm, ``desc``, ``total`` and ``unit`` say.
    """
    seconds = _SECONDS_ON_A_TERMINAL if sys.stderr.isatty() else _SECONDS_IN_A_LOG
    return tqdm(over, disable=not progress, mininterval=seconds, **options)
