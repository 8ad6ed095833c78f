"""A run while it is open: when to send, when to leave a store alone, and what its thread does.

- As long as the store answers, every record is sent at once by whoever made it. The first failure opens the circuit:
  from then on only the thread asks, every ``retry_seconds``, and the training just adds to the spool.
- The thread also looks at the machine and leaves the heartbeat, for an epoch may take hours.
- One request at a time. The training waits for one that is under way in the thread, but not for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_fpt.handlers._heartbeat import BEAT_SECONDS, heartbeat, owner_gone
from monai_fpt.handlers._pulse import TrackerPulse
from monai_fpt.handlers._records import error_line
from monai_fpt.handlers._run_file import note_run
from monai_fpt.handlers._sender import LiveElsewhere, RunSender
from monai_fpt.handlers._spool import SPOOL_FOLDER, RunSpool, spools_in
from monai_fpt.handlers._stale import end_stale_runs
from monai_fpt.handlers._store import quiet_loggers
from monai_fpt.handlers._system import SystemSampler

__all__ = ["RunSession"]

SEND_SECONDS = 60


class RunSession:
    """One open run.

    Args:
        run_dir: folder of the run.
        uri: the store.
        spool: of the run.
        retry_seconds: how long a store that failed is left alone.
        warn: called with a subject and a message; says each subject once.
        sampler: of the machine; None where that is not wanted.
        noted: whether this run is the one of ``mlflow_run.json``.
        resumed: whether a training that was there is gone on with.
    """

    def __init__(
        self,
        run_dir: Path,
        uri: str,
        spool: RunSpool,
        retry_seconds: float,
        warn: Callable[[str, str], None],
        sampler: SystemSampler | None,
        noted: bool = True,
        resumed: bool = False,
    ) -> None:
        self.run_dir = run_dir
        self.spool = spool
        self.sender = RunSender(uri, spool)
        self.retry_seconds = retry_seconds
        self.down = False
        """Whether the store failed the last time."""
        self.retry_at = 0.0
        self._warn = warn
        self._sampler = sampler
        self._noted = noted
        self._resumed = resumed
        self._pulse = TrackerPulse(self._beat, min(SystemSampler.interval(), BEAT_SECONDS))
        self._next_beat = 0.0
        self._sending = threading.RLock()
        self._met = False
        self._ending = False
        self._end_told = False

    def open(self) -> None:
        """Note the run in its folder and begin to beat."""
        self.note(heartbeat())
        self._tell_left_over()
        self._pulse.start()

    def send(self, now: bool = False) -> bool:
        """Send what waits; say whether the store took it. Never raises because of the store.

        Args:
            now: also when the store failed a moment ago.
        """
        self._tell_trouble()
        if not (now or self._due()) or not self._sending.acquire(timeout=SEND_SECONDS):
            return False
        refused = self.spool.refused
        try:
            if not (now or self._due()):  # it failed while this waited for the turn
                return False
            with quiet_loggers():
                if self.down and not self._ending:
                    self.sender.connect()
                    self.sender.beat()
                self._drain()
            self.down = False
            self._meet()
            return True
        except Exception as error:
            self.down = True
            self.retry_at = time.monotonic() + self.retry_seconds
            self._warn(
                "store",
                f"MLflow does not take the record of the run now ({error_line(error)}); the training goes on, and the "
                f"record waits in {SPOOL_FOLDER}",
            )
            return False
        finally:
            self._sending.release()
            if self.spool.refused > refused:
                self._warn("refused", f"MLflow refuses a record for good; it is in {SPOOL_FOLDER}, in refused.jsonl")

    def finish(self, status: str, error: str | None) -> bool:
        """End the run, or leave its end in the spool. May be called again when it was interrupted.

        Args:
            status: how it ended.
            error: the line of an exception.

        Returns:
            whether everything has arrived.
        """
        self._ending = True
        self._pulse.stop()
        if not self._end_told:
            with contextlib.suppress(Exception):  # a sensor must not keep the end from being told
                self._sample()
            self._end_told = True
            self.spool.append("end", {"status": status, "error": error})
        sent = self.send(now=True)
        if not sent and self.spool.cramped:  # the store is perhaps on the same full disk
            self.spool.give_reserve()
            sent = self.send(now=True)
        self.note(None)
        return self.spool.remove()

    def note(self, owner: Mapping[str, Any] | None) -> None:
        """Keep ``mlflow_run.json`` true."""
        if self._noted:
            try:
                note_run(self.run_dir, self.spool.header, owner, self._resumed)
            except OSError as error:
                self._warn("note", f"mlflow_run.json could not be written ({error_line(error)})")

    def _due(self) -> bool:
        if not self.down:
            return True
        left_to_thread = self._pulse.alive and not self._pulse.own
        return not left_to_thread and time.monotonic() >= self.retry_at

    def _drain(self) -> None:
        try:
            self.sender.drain()
        except LiveElsewhere as elsewhere:  # the store knows better than the folder
            key = uuid.uuid4().hex
            with contextlib.suppress(OSError):
                self.spool.move(self.run_dir / SPOOL_FOLDER / key)
            self.spool.change(key=key, run_id=None, resumed=False, started=int(time.time() * 1000))
            self._warn("resume", f"the training is resumed, but in a new MLflow run: {elsewhere}")
            self.sender.drain()

    def _meet(self) -> None:
        """Once, when the run is in the store: note its id, and end what nobody runs any more."""
        if self._met:
            return
        self._met = True
        self.note(heartbeat())
        try:
            ended = end_stale_runs(self.sender.client, self.sender.experiment_id)
        except Exception as error:
            self._warn("stale", f"runs that nobody runs any more could not be looked for ({error_line(error)})")
            return
        if ended:
            self._warn("stale", f"{len(ended)} run(s) of processes that are gone are KILLED now in MLflow (tag stale)")

    def _tell_trouble(self) -> None:
        if self.spool.trouble is not None:
            self._warn(
                "disk",
                f"the record of the run could not be written to the disk ({error_line(self.spool.trouble)}); the "
                "training goes on and the record is kept in memory: make room before it ends",
            )

    def _tell_left_over(self) -> None:
        """Remind of what earlier runs in this folder could not send."""
        others = [one for one in spools_in(self.spool.folder.parent) if one.folder != self.spool.folder]
        gone = sum(owner_gone(one.header["owner"]) for one in others)
        if gone:
            self._warn(
                "left over",
                f"{gone} earlier run(s) of this folder have records in {SPOOL_FOLDER} that wait; send them with: "
                f'monai-fpt tracking sync "{self.run_dir}"',
            )

    def _beat(self) -> None:
        """What the thread does: look at the machine, send what waits, say that this process lives."""
        if self._ending:
            return
        self._sample()
        self.spool.alive()
        if self.send() and time.monotonic() >= self._next_beat and self._sending.acquire(timeout=1):
            try:
                if not self._ending:
                    self.sender.beat()
                    self._next_beat = time.monotonic() + BEAT_SECONDS
            except Exception:  # the next record will find out, and tell
                self._next_beat = time.monotonic() + BEAT_SECONDS
            finally:
                self._sending.release()

    def _sample(self) -> None:
        if self._sampler is not None:
            seconds = (int(time.time() * 1000) - self.spool.header["started"]) // 1000
            self.spool.append("metrics", {"values": self._sampler.sample(), "step": max(0, seconds)}, force=False)
