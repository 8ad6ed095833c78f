"""Whether the process that a run belongs to is still there.

A process that is killed with -9 says nothing any more. While a run is open it therefore carries a tag with who writes it
and when it last did; whoever comes later can judge.

- A number of a process says something only where it was given: on the same start of the same machine, in the same
  namespace of processes (a container has its own). Both are compared, not the name of the host, which clones share.
- Numbers are given again. The process's start time goes with it, counted since the machine's start where the system
  tells it so, for that does not move when the clock is set.
- Where none of that can be known (another machine, another user's hidden processes), the age of the tag decides, by
  ``STALE_SECONDS``. A run that was judged so and lives all the same takes its status back (``RunSender.beat``).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["BEAT_SECONDS", "HEARTBEAT", "STALE_SECONDS", "heartbeat", "owner_gone", "read_heartbeat", "same_process"]

HEARTBEAT = "monai_fpt.heartbeat"
BEAT_SECONDS = 30.0
STALE_SECONDS = 1800.0
_FIELDS = {"host": str, "space": str, "pid": int, "started": str, "time": int}


def heartbeat() -> dict[str, Any]:
    """Who this process is, and now: ``host``, ``space``, ``pid``, ``started`` and ``time`` in milliseconds."""
    pid = os.getpid()
    return {
        "host": platform.node(),
        "space": _space(),
        "pid": pid,
        "started": _started(pid) or "",
        "time": int(time.time() * 1000),
    }


def read_heartbeat(text: str | None) -> dict[str, Any] | None:
    """The heartbeat that is written in a tag; None when it is no heartbeat of this package."""
    try:
        beat = json.loads(text or "")
    except ValueError:
        return None
    fits = isinstance(beat, dict) and all(isinstance(beat.get(name), kind) for name, kind in _FIELDS.items())
    return beat if fits else None


def same_process(beat: Mapping[str, Any]) -> bool:
    """Whether ``beat`` is of this very process."""
    own = heartbeat()
    return all(beat.get(name) == own[name] for name in ("space", "pid", "started"))


def owner_gone(beat: Mapping[str, Any], stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the process that left ``beat`` has ended.

    Args:
        beat: see ``heartbeat``.
        stale_seconds: the age at which a process that cannot be looked at counts as gone.
    """
    if beat["space"] == _space():
        ended = _has_ended(beat["pid"], beat["started"])
        if ended is not None:
            return ended
    return time.time() - float(beat["time"]) / 1000 > stale_seconds


def _has_ended(pid: int, started: str) -> bool | None:
    """None when this system does not tell."""
    if not psutil.pid_exists(pid):
        return True
    now = _started(pid)
    return None if not now or not started else now != started


@functools.lru_cache(maxsize=1)
def _space() -> str:
    """Where numbers of processes are unique: this start of this machine and, on Linux, this namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{platform.node()}:{uuid.getnode():x}"


def _started(pid: int) -> str | None:
    """When a process began, in a form that stays the same; None when it cannot be known or the process is a corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"ended {fields[19]}" if fields[0] in ("Z", "X") else fields[19]  # ticks since the machine's start
    except (OSError, IndexError):
        if sys.platform.startswith("linux"):
            return None  # hidden from this user: another clock must not be compared
    try:
        process = psutil.Process(pid)
        return "ended" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None
