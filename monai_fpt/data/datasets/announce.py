"""What is printed when a public data set is loaded: counts once for each list, the licence once for each folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_fpt.data.datalist import FPTDataList

__all__ = ["announce"]

_SAID: set[tuple[str, ...]] = set()


def announce(
    title: str, name: str, root: Path, data: FPTDataList, split: str, notes: Sequence[str], licence: str
) -> None:
    """Print a data set's counts, notes and licence, unless this process has done so.

    Args:
        title: the data set's title.
        name: its name in the registry.
        root: the user's folder.
        data: the list.
        split: how its sections were made, in words.
        notes: sentences without a full stop.
        licence: under what terms the images may be used.
    """
    images = len(data.training) + len(data.validation) + len(data.test)
    if _first_time(name, str(root), data.digest, split):
        print(f"{title} ({name}): {images:,} images of {str(root)!r}, split {split}")
        print(data.summary())
        for note in notes:
            print(f"note: {note}.")
    if _first_time(name, str(root)):
        print(f"Licence of {title}: {licence}", flush=True)


def _first_time(*what: str) -> bool:
    new = what not in _SAID
    _SAID.add(what)
    return new
