"""Notice every way in which a process ends, except those that nobody can notice.

A tracked run that stays RUNNING for ever is a lie. While a run is open these are watched: SIGTERM (a scheduler or
``docker stop``), SIGHUP (the terminal or the ssh connection is gone; under ``nohup`` it is ignored and stays so), an
exception that nobody caught, and the end of the interpreter. What was installed before is called as well and comes back
when the run is closed. SIGKILL and ``os._exit`` cannot be seen from within.

Child processes (workers of a data loader) inherit signal handlers by fork: there the watch does nothing but die as
told.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["ExitWatch"]

WATCHED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNAL_STATUS = 128  # what a shell adds to a signal's number


class ExitWatch:
    """Call ``ended`` once the process is about to end.

    Args:
        ended: called with the MLflow status and, for an uncaught exception, the exception. It must not raise. busy:
        whether a write is in progress; then a signal leaves the closing to whoever unwinds that write, because a second
        write to the same store from within the first would wait for itself.
    """

    def __init__(self, ended: Callable[[str, BaseException | None], None], busy: Callable[[], bool]) -> None:
        self._ended = ended
        self._busy = busy
        self._active = False
        self._process = os.getpid()
        self._previous_signals: dict[int, Any] = {}
        self._previous_hook: Any = None
        self._signal_handler = self._terminated  # bound once: a bound method is a new object at every access
        self._hook = self._uncaught

    def install(self) -> None:
        """Start to watch. Signals are watched only when called from the main thread, as Python demands."""
        self._active = True
        self._process = os.getpid()
        self._previous_hook, sys.excepthook = sys.excepthook, self._hook
        atexit.register(self._interpreter_ends)
        if threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                before = signal.getsignal(number)
                if before is not None and before is not signal.SIG_IGN:  # None: installed from C; ignored: leave it so
                    self._previous_signals[number] = before
                    signal.signal(number, self._signal_handler)

    def remove(self) -> None:
        """Stop to watch and put back what was there, unless someone else has come on top: then pass everything on."""
        self._active = False
        atexit.unregister(self._interpreter_ends)
        if sys.excepthook is self._hook:
            sys.excepthook = self._previous_hook
        if threading.current_thread() is threading.main_thread():
            for number, before in self._previous_signals.items():
                if signal.getsignal(number) is self._signal_handler:
                    signal.signal(number, before)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        was_active, previous = self._active, self._previous_signals.get(number)
        if was_active and not self._busy():
            self._ended("KILLED", None)
        if callable(previous):
            previous(number, frame)
        if was_active or not callable(previous):
            raise SystemExit(SIGNAL_STATUS + number)

    def _uncaught(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        self._previous_hook(kind, error, traceback)
        if self._active and os.getpid() == self._process:
            self._ended("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED", error)

    def _interpreter_ends(self) -> None:
        if self._active and os.getpid() == self._process:
            self._ended("FAILED", None)
