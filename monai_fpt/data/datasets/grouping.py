"""Images that belong together: patients from pairs, examinations from time stamps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

__all__ = ["groups_of_pairs", "groups_of_timestamps"]

_TIMESTAMP = re.compile(r"\d{17}")


def groups_of_pairs(pairs: Iterable[Sequence[str]], names: Iterable[str]) -> dict[str, str]:
    """Group of every name, where the members of a pair, and of pairs that share a member, are one group.

    Args:
        pairs: names that belong together; a name that is not in ``names`` still connects.
        names: all names; one without a pair is a group of its own.

    Returns:
        Name to group; a group is called after the first of its names in sorted order.

    Example:
        >>> groups_of_pairs([("a", "b"), ("b", "c")], ["a", "b", "c", "d"])
        {'a': 'a', 'b': 'a', 'c': 'a', 'd': 'd'}
    """
    leader: dict[str, str] = {}

    def top(name: str) -> str:
        leader.setdefault(name, name)
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for members in pairs:
        for other in members[1:]:
            first, second = sorted((top(members[0]), top(other)))
            leader[second] = first
    return {name: top(name) for name in names}


def groups_of_timestamps(names: Mapping[str, str], within: timedelta) -> dict[str, str]:
    """Group of every image, where images taken shortly after each other are one group.

    Args:
        names: image key to file name without suffix. A name of 17 digits is a time, ``YYYYMMDDhhmmssmmm``.
        within: neighbours in time that are less than this apart belong together.

    Returns:
        Image key to group; an image whose name is no time is a group of its own.

    Example:
        >>> stems = ["20170413111955404", "20170413112015395", "20170413112528859", "007-0004-000"]
        >>> list(groups_of_timestamps({s: s for s in stems}, timedelta(minutes=5)).values())
        ['time 20170413111955404', 'time 20170413111955404', 'time 20170413112528859', '007-0004-000']
    """
    groups = dict(names)
    times = sorted((moment, stem, key) for key, stem in names.items() if (moment := _moment(stem)) is not None)
    first = last = None
    for moment, stem, key in times:
        if last is None or moment - last >= within:
            first = stem
        last = moment
        groups[key] = f"time {first}"
    return groups


def _moment(stem: str) -> datetime | None:
    if not _TIMESTAMP.fullmatch(stem):
        return None
    try:
        return datetime.strptime(stem[:14], "%Y%m%d%H%M%S") + timedelta(milliseconds=int(stem[14:]))
    except ValueError:  # 17 digits that are no date
        return None
