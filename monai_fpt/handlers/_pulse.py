"""Something done at intervals while a training runs, in a thread that never outlives it nor holds up its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["TrackerPulse"]

JOIN_SECONDS = 1.0


class TrackerPulse:
    """Call ``beat`` every ``seconds``, first after that time. An exception in it is the end of nothing.

    Args:
        beat: must be safe to call from another thread.
        seconds: between two calls.
    """

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs in this process."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def own(self) -> bool:
        """Whether this is called from the thread itself."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Begin. Where no thread can be had, nothing beats."""
        thread = threading.Thread(target=self._run, name="monai_fpt tracking", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            return
        self._thread = thread

    def stop(self) -> None:
        """Stop, and wait a moment for a call that is under way."""
        self._stopped.set()
        if self._thread is not None and not self.own:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._beat()
            except Exception:  # a warning that was made an error, a sensor that vanished: the next beat is another try
                continue
