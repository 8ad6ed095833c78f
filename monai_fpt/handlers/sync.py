"""Send what a training could not: ``sync_tracking``.

Everything that waits lies in ``mlflow_spool`` (``_spool``). A sync may be killed, or the server may go again, at any
moment: what had arrived stays known as such, what arrives twice is there once, and the next sync goes on. Runs are made
in the order in which they began, so that a parent is there before its children. The spool of a training that still runs
is left to it. A run whose process is gone without a word ends as KILLED with the tag ``stale``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_fpt.handlers._addresses import HIDDEN
from monai_fpt.handlers._claim import claim_lock
from monai_fpt.handlers._heartbeat import owner_gone
from monai_fpt.handlers._records import error_line
from monai_fpt.handlers._run_file import expanded_uri, note_run, read_run_file, stored_uri
from monai_fpt.handlers._sender import RunSender
from monai_fpt.handlers._spool import RunSpool, spool_folders
from monai_fpt.handlers._stale import stale_text
from monai_fpt.handlers._store import checked_uri, quiet_loggers

__all__ = ["FPTSyncReport", "FPTSyncedRun", "sync_tracking"]


@dataclass(frozen=True)
class FPTSyncedRun:
    """What became of one run that had something waiting.

    Args:
        run_name: its name.
        run_id: MLflow's id; None when it is in no store yet.
        sent: records that arrived now.
        left: records that still wait.
        refused: records that the store will never take, now or before; they stay in ``refused.jsonl``.
        problem: why something is left; None when nothing is.
    """

    run_name: str
    run_id: str | None
    sent: int
    left: int
    refused: int
    problem: str | None

    def __str__(self) -> str:
        refused = f", {self.refused} refused" if self.refused else ""
        problem = f": {self.problem}" if self.problem else ""
        return f"{self.run_name}: {self.sent} sent, {self.left} waiting{refused}{problem}"


@dataclass(frozen=True)
class FPTSyncReport:
    """What became of all runs of a folder.

    Args:
        runs: those that had something waiting, in the order in which they began.
    """

    runs: tuple[FPTSyncedRun, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing waits any more."""
        return all(run.problem is None and run.left == 0 for run in self.runs)

    def __str__(self) -> str:
        return "\n".join(str(run) for run in self.runs) or "Nothing waits to be sent."


def sync_tracking(run_dir: str | Path, tracking_uri: str | None = None) -> FPTSyncReport:
    """Send what the trainings in ``run_dir`` and below recorded and could not send.

    Args:
        run_dir: folder of a training, or of several.
        tracking_uri: another store than the one they were meant for; needed where its address holds a password and the
            variable ``MLFLOW_TRACKING_URI`` does not say it.

    Returns:
        what was sent and what is left; a store that is still away is told there, not raised.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: ``tracking_uri`` is a folder.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(
            f'There is no folder "{run_dir}" whose record could be sent; give the run_dir of a training.'
        )
    if tracking_uri is not None:
        checked_uri(tracking_uri)
    return FPTSyncReport(tuple(_synced(run_dir, tracking_uri)))


def _synced(run_dir: Path, tracking_uri: str | None) -> Iterator[FPTSyncedRun]:
    spools: list[RunSpool] = []
    for folder in spool_folders(run_dir):
        try:
            spools.append(RunSpool(folder))
        except FileNotFoundError:
            if (folder / "records.jsonl").exists():
                yield FPTSyncedRun(folder.name, None, 0, 0, 0, f'"{folder}" has no run.json, restore it')
        except ValueError as error:
            yield FPTSyncedRun(folder.name, None, 0, 0, 0, str(error))
    for spool in sorted(spools, key=lambda one: int(one.header["started"])):
        own = spool.folder.parent.parent
        try:
            with claim_lock(own):
                yield _sync(RunSpool(spool.folder), own, tracking_uri)  # read again: what was read before may be sent
        except FileNotFoundError:
            continue  # its own tracker was quicker
        except OSError as error:
            problem = f"the folder could not be claimed ({error_line(error)}); nothing in it was touched"
            yield FPTSyncedRun(spool.header["run_name"], spool.header["run_id"], 0, len(spool), 0, problem)


def _sync(spool: RunSpool, run_dir: Path, tracking_uri: str | None) -> FPTSyncedRun:
    header = spool.header
    beat = {**header["owner"], "time": int(os.stat(spool.folder / "run.json").st_mtime * 1000)}
    queued = spool.kinds()
    ended = [kind for kind in queued if kind in ("end", "reopen")][-1:] == ["end"]
    if not ended and not owner_gone(beat):
        live = f"process {beat['pid']} on {beat['host']} still writes it and will send it itself"
        return FPTSyncedRun(header["run_name"], header["run_id"], 0, len(spool), spool.refused, live)
    if not ended:
        spool.append("end", {"status": "KILLED", "error": None, "stale": stale_text(beat)}, time_ms=beat["time"])
    uri = tracking_uri or _address(header["tracking_uri"], run_dir)
    problem: str | None = None
    sender = RunSender(uri, spool, known=stored_uri(uri, run_dir) == header["tracking_uri"])
    try:
        if HIDDEN in uri:
            raise ValueError(
                "the address of the store has a password, which is not kept; give it again as tracking_uri."
            )
        with quiet_loggers():
            sender.drain()
    except Exception as error:
        problem = error_line(error)
    else:
        if spool.damaged:
            problem = f"{spool.damaged} line(s) of records.jsonl are damaged and were left out"
        content = read_run_file(run_dir)
        if content is not None and content["key"] == header["key"]:
            note_run(run_dir, spool.header, None)
        spool.remove()
    return FPTSyncedRun(header["run_name"], sender.run_id, sender.sent, len(spool), spool.refused, problem)


def _address(told: str, run_dir: Path) -> str:
    """The address that a training was given, with its password where the environment knows it."""
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    if environment and HIDDEN in told and stored_uri(environment, run_dir) == told:
        return environment
    return expanded_uri(told, run_dir)
