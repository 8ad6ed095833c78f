"""What is recorded and has not reached MLflow yet: a folder on the disk, one for each run.

    <run_dir>/mlflow_spool/<key of the run>/
        run.json        what the run is: enough to make it in a store that never heard of it
        records.jsonl   one record a line, in order
        sent            the number of the last record that arrived
        files/          content of artifacts
        refused.jsonl   records that MLflow will never take, with the reason
        reserve         room for the last words when the disk is full

Decisions:

- Every record is written here and forced to the disk before it is sent, so that ``kill -9`` in the middle of a request
  loses nothing. Whatever is sent twice after that must arrive once (``_deliver``); ``sent`` may therefore lag behind.
- A line that a power cut tore is left out, and cut off before the next is written; only the last one can be torn. To
  read the folder of a process that lives does no harm.
- A full disk is no reason to forget: records then stay in memory and are written as soon as there is room.
- The folder vanishes when everything has arrived and the run has ended. Where it is, something waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_fpt.handlers._files import replace_file_content

__all__ = ["SPOOL_FOLDER", "RunSpool", "SpoolRecord", "spool_folders", "spools_in"]

SPOOL_FOLDER = "mlflow_spool"
HEADER = "run.json"
RECORDS = "records.jsonl"
REFUSED = "refused.jsonl"
SENT = "sent"
FILES = "files"
RESERVE = "reserve"
RESERVE_BYTES = 256 * 1024
LONG_JOURNAL = 1024 * 1024  # bytes of arrived records that may lie about


@dataclass
class SpoolRecord:
    """One thing to tell MLflow.

    Args:
        number: counts the records of a run. kind: ``tags``, ``params``, ``metrics``, ``file``, ``inputs``, ``reopen`` or
        ``end``. time: when it was recorded, in milliseconds. data: by kind, plain JSON. content: of a ``file`` that is
        not in the folder: the file itself, or its bytes.
    """

    number: int
    kind: str
    time: int
    data: dict[str, Any]
    content: Path | bytes | None = field(default=None, repr=False)
    saved: bool = False

    def line(self) -> bytes:
        """The record as a line of the journal."""
        told = {"n": self.number, "kind": self.kind, "time": self.time, "data": self.data}
        return json.dumps(told, separators=(",", ":")).encode() + b"\n"


class RunSpool:
    """The records of one run that wait, in order. Safe to use from several threads of one process.

    Args:
        folder: see the module; read when it is there.
        header: content of ``run.json``; by default what is in the file.

    Raises:
        FileNotFoundError: no ``header`` is given and none is in the folder.
        ValueError: ``run.json`` is damaged.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.trouble: OSError | None = None
        """Why the disk does not take what is in memory only; None when nothing is."""
        self.damaged = 0
        """Lines in the middle of the journal that are not records."""
        self.refused = 0
        self._lock = threading.RLock()
        self._queue: deque[SpoolRecord] = deque()
        self._next = 1
        self._torn: int | None = None
        self._header_saved = header is None
        self.header: dict[str, Any] = dict(header) if header is not None else self._read_header()
        if folder.is_dir():
            self._read()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def unsaved(self) -> int:
        """How many records are in memory only."""
        return sum(not record.saved for record in self._queue)

    @property
    def cramped(self) -> bool:
        """Whether the disk is full, or so nearly that what is reserved matters."""
        if self.trouble is not None:
            return True
        try:
            return shutil.disk_usage(self.folder).free < RESERVE_BYTES
        except OSError:
            return False

    def kinds(self) -> list[str]:
        """The kinds of what waits, in order."""
        return [record.kind for record in self._queue]

    def change(self, **values: Any) -> None:
        """Change the header, on the disk too."""
        with self._lock:
            self.header.update(values)
            self._header_saved = False
            self.save()

    def append(
        self,
        kind: str,
        data: Mapping[str, Any],
        content: Path | bytes | None = None,
        time_ms: int | None = None,
        force: bool = True,
    ) -> None:
        """Add a record. A disk that does not take it is no error: see ``trouble``.

        Args:
            kind: see ``SpoolRecord``, as ``data`` and ``content``.
            data: must be plain JSON.
            content: of a ``file``.
            time_ms: now by default.
            force: wait until it is on the disk itself.
        """
        moment = int(time.time() * 1000) if time_ms is None else time_ms
        with self._lock:
            self._queue.append(SpoolRecord(self._next, kind, moment, dict(data), content))
            self._next += 1
            self.save(force)

    def save(self, force: bool = True) -> None:
        """Write what is in memory only. Never raises ``OSError``: see ``trouble``."""
        with self._lock:
            try:
                self._save_header()
                for record in self._queue:
                    if not record.saved:
                        self._write(record, force)
                self.trouble = None
            except OSError as error:
                self.trouble = error

    def first(self, limit: int) -> list[SpoolRecord]:
        """The oldest record; when it holds metrics, also those right behind it, up to ``limit`` numbers."""
        found: list[SpoolRecord] = []
        with self._lock:
            count = 0
            for record in self._queue:
                size = len(record.data["values"]) if record.kind == "metrics" else limit
                if found and (record.kind != "metrics" or count + size > limit):
                    break
                found.append(record)
                count += size
        return found

    def done(self, records: list[SpoolRecord]) -> None:
        """The oldest ``records`` have arrived."""
        with self._lock:
            for record in records:
                self._queue.popleft()
                if record.kind == "file":
                    shutil.rmtree(self._file_folder(record), ignore_errors=True)
            with contextlib.suppress(OSError):  # then they are sent again some day, which does no harm
                self._write_sent(records[-1].number)
                if not self._queue and (self.folder / RECORDS).stat().st_size > LONG_JOURNAL:
                    os.truncate(self.folder / RECORDS, 0)

    def refuse(self, record: SpoolRecord, reason: str) -> None:
        """Put the oldest record aside for good."""
        with self._lock:
            with contextlib.suppress(OSError):
                told = json.loads(record.line()) | {"reason": reason}
                _append(self.folder / REFUSED, json.dumps(told).encode() + b"\n")
            self.refused += 1
            self.done([record])

    def path_of(self, record: SpoolRecord) -> Path | None:
        """Where the content of a ``file`` lies; None when it is in memory only, or lost."""
        stored = self._file_folder(record) / str(record.data["name"])
        if stored.is_file():
            return stored
        return record.content if isinstance(record.content, Path) and record.content.is_file() else None

    def alive(self) -> None:
        """Leave a sign of life in the folder, for those who cannot look at this process."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / HEADER)

    def give_reserve(self) -> None:
        """Give up the reserved room, and use it."""
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink()
        self.save()

    def move(self, folder: Path) -> None:
        """Let the folder have another name."""
        with self._lock:
            if self.folder.exists():
                os.replace(self.folder, folder)
            self.folder = folder

    def remove(self) -> bool:
        """Remove the folder if nothing in it is of worth any more. Say whether it is gone."""
        with self._lock:
            if self._queue or self.refused or self.damaged:
                with contextlib.suppress(OSError):
                    (self.folder / RESERVE).unlink()
                return False
            with contextlib.suppress(OSError):
                (self.folder / HEADER).unlink()  # first: without it the rest is nobody's
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()
            return not self.folder.exists()

    def _read_header(self) -> dict[str, Any]:
        path = self.folder / HEADER
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f'"{path}" is damaged ({error}): restore it, without it nobody knows the run.') from error
        if not isinstance(header, dict) or "key" not in header:
            raise ValueError(f'"{path}" was not written by this package: restore it, or take the folder away.')
        return header

    def _read(self) -> None:
        sent = 0
        with contextlib.suppress(OSError, ValueError):
            sent = int((self.folder / SENT).read_text(encoding="ascii"))
        with contextlib.suppress(OSError):
            self.refused = (self.folder / REFUSED).read_bytes().count(b"\n")
        last = sent
        for record in self._lines():
            last = max(last, record.number)
            if record.number > sent:
                self._queue.append(record)
        self._next = last + 1

    def _lines(self) -> Iterator[SpoolRecord]:
        path = self.folder / RECORDS
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._torn = whole  # by a power cut, or because another process is writing just now
        for line in content[:whole].splitlines():
            try:
                row = json.loads(line)
                yield SpoolRecord(row["n"], row["kind"], row["time"], row["data"], saved=True)
            except (ValueError, KeyError, TypeError):
                self.damaged += 1

    def _save_header(self) -> None:
        if self._header_saved:
            return
        first = not (self.folder / HEADER).exists()
        replace_file_content(self.folder / HEADER, json.dumps(self.header, indent=1).encode())
        self._header_saved = True
        if first:
            with contextlib.suppress(OSError):
                _append(self.folder / RESERVE, bytes(RESERVE_BYTES))

    def _write(self, record: SpoolRecord, force: bool) -> None:
        if record.kind == "file" and record.content is not None:
            self._keep_file(record)
        if self._torn is not None:
            os.truncate(self.folder / RECORDS, self._torn)
            self._torn = None
        _append(self.folder / RECORDS, record.line(), force)
        record.saved = True
        record.content = None

    def _keep_file(self, record: SpoolRecord) -> None:
        target = self._file_folder(record) / record.data["name"]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(record.content, Path):
                shutil.copyfile(record.content, target)
                with target.open("rb+") as file:
                    os.fsync(file.fileno())
            else:
                assert record.content is not None
                target.unlink(missing_ok=True)
                _append(target, record.content)
        except OSError:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise

    def _file_folder(self, record: SpoolRecord) -> Path:
        return self.folder / FILES / str(record.number)

    def _write_sent(self, number: int) -> None:
        beside = self.folder / f"{SENT}.tmp"
        beside.write_text(str(number), encoding="ascii")
        os.replace(beside, self.folder / SENT)


def spool_folders(run_dir: Path) -> list[Path]:
    """Folders of runs that have something waiting, in ``run_dir`` and below."""
    roots = (path for path in sorted(run_dir.rglob(SPOOL_FOLDER)) if path.is_dir())
    return [folder for root in roots for folder in sorted(root.iterdir()) if folder.is_dir()]


def spools_in(root: Path) -> list[RunSpool]:
    """The spools in a folder ``mlflow_spool``; what is not one, or vanishes meanwhile, is left out."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        with contextlib.suppress(OSError, ValueError):
            found.append(RunSpool(folder))
    return found


def _append(path: Path, content: bytes, force: bool = True) -> None:
    """Add ``content`` to a file whole, or leave the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            if force:
                os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
