"""One training, one MLflow run, whatever happens.

Decisions:

- The run is made and written by ``MlflowClient`` with explicit ids. The fluent API (``mlflow.start_run``,
  ``set_experiment``) keeps state for the whole process and would mix runs; other trackers in the process are left
  alone. A run is a new one, unless ``resume`` goes on with the one of this very folder.
- The run's status is the truth: FINISHED only when ``close()`` was called, FAILED or KILLED otherwise (``_exits``). What
  was killed with -9 is ended by the next tracker that starts in the experiment (``_stale``).
- Tracking never stops a training, and nothing that was recorded is lost: it goes to a spool on the disk first (``_spool``)
  and from there to the store. A store that cannot be reached costs the training one bounded wait; from then on a thread
  asks for it, and sends what waits when it is back. What is left at the end ``sync_tracking`` sends.
- Made lazily: building the object (a bundle builds everything) touches no store; the first record, or ``start``, does.
- Only rank 0 has a run. On other ranks, and with ``enabled=False``, every method does nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.handlers._add import add_data, add_file, add_path, dict_bytes, figure_bytes
from monai_fpt.handlers._claim import new_header, run_to_resume, tag_texts
from monai_fpt.handlers._exits import ExitWatch
from monai_fpt.handlers._provenance import provenance_tags
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers._records import clean_keys, error_line, flat_params
from monai_fpt.handlers._session import RunSession
from monai_fpt.handlers._spool import SPOOL_FOLDER, RunSpool
from monai_fpt.handlers._store import checked_uri, fpt_tracking_uri
from monai_fpt.handlers._system import SystemSampler

__all__ = ["FPTTracker"]

STATUSES = ("FINISHED", "FAILED", "KILLED")


class FPTTracker:
    """A record of one run in MLflow.

    Args:
        run_dir: folder of the run; without another store it gets ``mlflow.db`` and ``mlartifacts``. ``mlflow_run.json``
            in it says which run it is, ``mlflow_spool`` is there while something waits to be sent.
        experiment: name of the MLflow experiment, made when missing.
        run_name: by default the time and six random characters.
        tracking_uri: the store. Without it the variable ``MLFLOW_TRACKING_URI`` decides, without that ``run_dir``.
        params: parameters of the run, may be nested.
        tags: further tags. Versions, git commit and device are added by themselves.
        enabled: false makes every method do nothing.
        seed: becomes the parameter ``seed``.
        retry_seconds: how long a store that failed is left alone before the next attempt.
        resume: go on with the run of ``mlflow_run.json``, if it is this folder's own and no other process writes it;
            otherwise a new run is made, and a warning says why.
        parent: the tracker, or the id of the run, that this one belongs to, as the folds of a cross-validation do.
            A tracker also decides experiment and store, and ends after its children.
        system_metrics: record every ten seconds how the machine does.
        data: a data list to record, see ``log_data``.
        data_name: what it is called.
        data_sections: the sections that the run uses, by default all.

    Raises:
        ValueError: ``tracking_uri`` is a folder.

    Example:
        >>> # in a bundle: "tracker": {"_target_": "monai_fpt.handlers.FPTTracker", "run_dir": "@run_dir"},
        >>> # and "finalize": ["$@tracker.close()"]
    """

    def __init__(
        self,
        run_dir: str | Path,
        experiment: str = "monai_fpt",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        enabled: bool = True,
        seed: int | None = None,
        retry_seconds: float = 60.0,
        resume: bool = False,
        parent: FPTTracker | str | None = None,
        system_metrics: bool = True,
        data: FPTDataList | None = None,
        data_name: str | None = None,
        data_sections: Sequence[str] = SECTIONS,
    ) -> None:
        above = parent if isinstance(parent, FPTTracker) else None
        self.run_dir = Path(run_dir).absolute()
        uri = tracking_uri or fpt_tracking_uri(self.run_dir)
        self.tracking_uri: str = checked_uri(uri) if above is None else above.tracking_uri
        self.experiment: str = experiment if above is None else above.experiment
        self.run_name = run_name or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self._key = uuid.uuid4().hex
        self.enabled: bool = enabled and (above is None or above.enabled)
        self.retry_seconds = retry_seconds
        self.resume = resume
        self.parent = parent
        self.status: str | None = None
        """How the run ended; None while it has not."""
        self._first_params = {**({} if seed is None else {"seed": seed}), **(params or {})}
        self._first_tags = dict(tags or {})
        self._first_data = None if data is None else (data, data_name or "data", tuple(data_sections))
        self._system_metrics = system_metrics
        self._logged_params: dict[str, str] = {}
        self._children: list[FPTTracker] = []
        self._session: RunSession | None = None
        self._process = os.getpid()
        self._closed = False
        self._writing: bool = False
        self._watch = ExitWatch(self._end, lambda: self._writing)
        self._warned: set[str] = set()
        if above is not None:
            above._children.append(self)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, ``None`` before the store has made it."""
        return None if self._session is None else self._session.sender.run_id

    @property
    def key(self) -> str:
        """The package's own name of the run, its tag ``monai_fpt.run``; known before MLflow's."""
        return self._key if self._session is None else str(self._session.spool.header["key"])

    def start(self) -> None:
        """Make the run now instead of at the first record."""
        self._record(lambda spool: None)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters.

        Args:
            params: may be nested (keys are joined by ``.``); texts over 6000 characters are cut with a note. A
                parameter that was recorded before keeps its first value, with a warning when the new one differs; one
                that differs from what a resumed run recorded becomes the tag ``changed.<name>``.
        """
        self._record(lambda spool: self._add_params(spool, params))

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Record numbers.

        Args:
            metrics: anything that ``float`` takes, also NaN; other values are left out with a warning.
            step: the epoch.
        """
        numbers = {name: number for name, value in metrics.items() if (number := self._number(name, value)) is not None}
        if numbers:
            self._record(lambda spool: spool.append("metrics", {"values": clean_keys(numbers), "step": int(step)}))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one."""
        if tags:
            self._record(lambda spool: spool.append("tags", {"values": tag_texts(tags)}))

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Copy a file, or everything in a folder, into the run's artifacts (below ``folder``)."""
        if Path(path).exists():
            self._record(lambda spool: add_path(spool, Path(path), folder))
        else:
            self._warn(str(path), f"{path} does not exist and is not logged")

    def log_dict(self, content: Mapping[str, Any], name: str) -> None:
        """Write ``content`` as the artifact ``name``, JSON or YAML by its ending."""
        self._record(lambda spool: add_file(spool, dict_bytes(content, name), name))

    def log_figure(self, figure: Any, name: str) -> None:
        """Write a matplotlib figure as the artifact ``name``, for instance ``figures/roc.png``."""
        self._record(lambda spool: add_file(spool, figure_bytes(figure, name), name))

    def log_data(
        self, data: FPTDataList, name: str = "data", sections: Sequence[str] = SECTIONS, keys: bool = False
    ) -> None:
        """Record a data list: for every section a data set of MLflow with digest and counts, and a tag with the digest.

        Args:
            data: images, labels and sections.
            name: what the data set is called.
            sections: those that the run uses.
            keys: whether the list itself, with names of files, patients and facts, becomes the artifact
                ``data_list.json``. Ask who may read the store first.
        """
        self._record(lambda spool: add_data(spool, data, name, sections, keys))

    def flush(self) -> bool:
        """Try to send now what waits, also when the store failed a moment ago. Say whether nothing is left."""
        if self._session is not None and self._on():
            with self._busy():
                self._session.send(now=True)
        return self._session is None or not len(self._session.spool)

    def fail(self, error: BaseException) -> None:
        """End the run because of an exception: KILLED for Ctrl-C, else FAILED with the tag ``error``."""
        self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", error)

    def close(self, status: str = "FINISHED") -> None:
        """End the run; later calls of any method do nothing.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``. A run whose children did not all finish is FAILED instead of
                FINISHED, and its tag ``children`` counts them.

        Raises:
            ValueError: another status.
        """
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)} but is {status!r}.")
        self._end(status, None)

    def __enter__(self) -> FPTTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.fail(error)

    def _on(self) -> bool:
        return self.enabled and not self._closed and os.getpid() == self._process and process_rank() == 0

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """A signal that arrives within waits until this is unwound, and then ends the run (``_exits``)."""
        outer, self._writing = self._writing, True
        try:
            yield
        except Exception:
            raise
        except BaseException:  # Ctrl-C or SIGTERM in the middle of a record, which is unwound by now
            self._end("KILLED", None)
            raise
        finally:
            self._writing = outer

    def _record(self, add: Callable[[RunSpool], None]) -> None:
        """Let ``add`` put records into the spool, and send them. Never raises because of record, store or disk."""
        if not self._on():
            return
        with self._busy():
            try:
                session = self._opened()
                add(session.spool)
            except Exception as error:
                self._warn("record", f"something could not be recorded ({error_line(error)}); the training goes on")
                return
            session.send()

    def _opened(self) -> RunSession:
        """The session of the run, begun when there is none."""
        if self._session is None:
            if isinstance(self.parent, FPTTracker):
                self.parent.start()
            self._watch.install()
            spool = self._spool()
            sampler = SystemSampler(self.run_dir) if self._system_metrics else None
            shared = isinstance(self.parent, FPTTracker) and self.parent.run_dir == self.run_dir
            self._session = RunSession(
                self.run_dir, self.tracking_uri, spool, self.retry_seconds, self._warn, sampler, not shared, self.resume
            )
            self._add_params(spool, self._first_params)
            if self._first_data is not None:
                add_data(spool, *self._first_data)
            self._session.open()
        return self._session

    def _spool(self) -> RunSpool:
        """Of a new run, or of the one that is resumed."""
        above = self.parent
        parent = {"key": above.key, "run_id": above.run_id} if isinstance(above, FPTTracker) else {"run_id": above}
        header = new_header(
            self.run_dir,
            self._key,
            self.tracking_uri,
            self.experiment,
            self.run_name,
            {**provenance_tags(), **self._first_tags},
            None if above is None else parent,
        )
        if self.resume:
            spool, reason = run_to_resume(self.run_dir, header, self.tracking_uri)
            if spool is not None:
                self.run_name, self.experiment = spool.header["run_name"], spool.header["experiment"]
                return spool
            if reason:
                self._warn("resume", f"the training is resumed, but in a new MLflow run: {reason}")
        spool = RunSpool(self.run_dir / SPOOL_FOLDER / self._key, header)
        spool.save()
        return spool

    def _end(self, status: str, error: BaseException | None) -> None:
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        self._writing = True
        try:
            self._finish(status, error)
        except Exception as failure:
            self._warn("end", f"the end of the run could not be recorded ({error_line(failure)})")
        except BaseException:  # Ctrl-C or SIGTERM in the middle of this: once more, then obey
            with contextlib.suppress(Exception):
                self._finish(status, error)
            raise
        finally:
            self._writing = False
            self._watch.remove()

    def _finish(self, status: str, error: BaseException | None) -> None:
        for child in self._children:  # still open: whoever ends this run does not go on with them
            child._end("FAILED" if status == "FINISHED" else status, error)
        session = self._session
        if session is None:
            return
        children = Counter(child.status for child in self._children if child.status is not None)
        if children and self.status is None:
            told = ", ".join(f"{count} {name}" for name, count in sorted(children.items()))
            session.spool.append("tags", {"values": {"children": told}})
            status = "FAILED" if status == "FINISHED" and set(children) != {"FINISHED"} else status
        self.status = self.status or status
        text = None if error is None or isinstance(error, KeyboardInterrupt) else error_line(error)
        if not session.finish(self.status, text):
            self._tell_left(session.spool)
            return
        for child in self._children:
            if child._session is not None and len(child._session.spool):
                child._session.send(now=True)
                child._session.spool.remove()

    def _tell_left(self, spool: RunSpool) -> None:
        lost = f" ({spool.unsaved} of them not even on the disk, these are lost)" if spool.unsaved else ""
        warnings.warn(
            f"{len(spool) + spool.refused} record(s) of this run did not reach MLflow and wait in {SPOOL_FOLDER}{lost}; "
            f'send them with: monai-fpt tracking sync "{self.run_dir}".',
            RuntimeWarning,
            stacklevel=5,
        )

    def _add_params(self, spool: RunSpool, params: Mapping[str, Any]) -> None:
        texts = clean_keys(flat_params(params))
        other = sorted(name for name, text in texts.items() if self._logged_params.get(name, text) != text)
        if other:
            warnings.warn(
                f"the parameters {', '.join(other)} were recorded before and keep their first value.", stacklevel=5
            )
        new = {name: text for name, text in texts.items() if name not in self._logged_params}
        if new:
            spool.append("params", {"values": new})
            self._logged_params.update(new)

    def _number(self, name: str, value: Any) -> float | None:
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            self._warn(name, f"the metric {name!r} is no number but a {type(value).__name__} and is left out")
            return None

    def _warn(self, subject: str, message: str) -> None:
        """Once per run and subject: what is wrong now is wrong for every record to come."""
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(f"{message}.", RuntimeWarning, stacklevel=4)
