"""One training, one MLflow run, whatever happens.

Decisions:

- The run is made and written by ``MlflowClient`` with explicit ids. The fluent API (``mlflow.start_run``,
  ``set_experiment``) keeps state for the whole process and would mix runs; other trackers in the process are left
  alone. A run is always a new one.
- The run's status is the truth: FINISHED only when ``close()`` was called, FAILED or KILLED otherwise (``_exits``).
- Tracking never stops a training. A store that cannot be reached is tried a bounded number of times, then left alone
  for a while; one warning is given, and at the end how many records are missing.
- Made lazily: building the object (a bundle builds everything) touches no store; the first record, or ``start``, does.
- Only rank 0 has a run. On other ranks, and with ``enabled=False``, every method does nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_fpt.handlers._exits import ExitWatch
from monai_fpt.handlers._provenance import provenance_tags
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers._records import clean_keys, error_line, flat_params, param_text
from monai_fpt.handlers._store import checked_uri, fpt_tracking_uri, open_experiment

__all__ = ["FPTTracker"]

STATUSES = ("FINISHED", "FAILED", "KILLED")
BATCH = 100  # MLflow takes at most this many parameters or tags in one request


class FPTTracker:
    """A record of one run in MLflow.

    Args:
        run_dir: folder of the run; without another store it gets ``mlflow.db`` and ``mlartifacts``.
        experiment: name of the MLflow experiment, made when missing.
        run_name: by default the time and six random characters.
        tracking_uri: the store. Without it the variable ``MLFLOW_TRACKING_URI`` decides, without that ``run_dir``.
        params: parameters of the run, may be nested.
        tags: further tags. Versions, git commit and device are added by themselves.
        enabled: false makes every method do nothing.
        seed: becomes the parameter ``seed``.
        retry_seconds: how long a store that failed is left alone before the next attempt.

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
    ) -> None:
        self.tracking_uri = checked_uri(tracking_uri or fpt_tracking_uri(Path(run_dir)))
        self.experiment = experiment
        self.run_name = run_name or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.run_id: str | None = None
        """MLflow's id of the run, ``None`` before it exists."""
        self.enabled = enabled
        self.retry_seconds = retry_seconds
        self._first_params = {**({} if seed is None else {"seed": seed}), **(params or {})}
        self._first_tags = dict(tags or {})
        self._client: Any = None
        self._logged_params: dict[str, str] = {}
        self._watch: ExitWatch | None = None
        self._process = os.getpid()
        self._closed = False
        self._writing = False
        self._retry_at = 0.0
        self._introduced = False
        self._lost = 0
        self._warned: set[str] = set()

    def start(self) -> None:
        """Make the run now instead of at the first record."""
        self._record("start the run", lambda: None)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters.

        Args:
            params: may be nested (keys are joined by ``.``); texts over 6000 characters are cut with a note. A
                parameter that was recorded before keeps its first value, with a warning when the new one differs.
        """
        self._record("log parameters", lambda: self._send_params(params))

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Record numbers.

        Args:
            metrics: anything that ``float`` takes, also NaN; other values are left out with a warning.
            step: the epoch.
        """
        numbers = {name: number for name, value in metrics.items() if (number := self._number(name, value)) is not None}
        if numbers:
            self._record("log metrics", lambda: self._send_metrics(clean_keys(numbers), step))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one."""
        self._record("set tags", lambda: self._send_tags(tags))

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Copy a file, or everything in a folder, into the run's artifacts (below ``folder``)."""
        if not Path(path).exists():
            self._warn(str(path), f"{path} does not exist and is not logged")
            return
        send = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        self._record("log a file", lambda: getattr(self._client, send)(self.run_id, str(path), folder))

    def log_dict(self, content: Mapping[str, Any], name: str) -> None:
        """Write ``content`` as the artifact ``name``, JSON or YAML by its ending."""
        self._record("log a dictionary", lambda: self._client.log_dict(self.run_id, dict(content), name))

    def log_figure(self, figure: Any, name: str) -> None:
        """Write a matplotlib figure as the artifact ``name``, for instance ``figures/roc.png``."""
        self._record("log a figure", lambda: self._client.log_figure(self.run_id, figure, name))

    def fail(self, error: BaseException) -> None:
        """End the run because of an exception: KILLED for Ctrl-C, else FAILED with the tag ``error``."""
        self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", error)

    def close(self, status: str = "FINISHED") -> None:
        """End the run; later calls of any method do nothing.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.

        Raises:
            ValueError: another status.
        """
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)} but is {status!r}.")
        self._end(status, None)

    def _record(self, what: str, send: Callable[[], None]) -> None:
        """Do ``send``, making the run first when there is none. Never raises because of the store."""
        if not self.enabled or self._closed or os.getpid() != self._process or process_rank() != 0:
            return
        if time.monotonic() < self._retry_at:
            self._lost += 1
            return
        self._writing = True
        try:
            if self.run_id is None:
                self._create()
            if not self._introduced:
                self._introduce()
            send()
        except Exception as error:
            self._lost += 1
            if getattr(error, "error_code", None) != "INVALID_PARAMETER_VALUE":  # then the store itself is well
                self._retry_at = time.monotonic() + self.retry_seconds
            self._warn("store", f"MLflow could not {what} ({error_line(error)}); the training goes on without")
        except BaseException:  # Ctrl-C or SIGTERM in the middle of a write, which is unwound by now
            self._end("KILLED", None)
            raise
        finally:
            self._writing = False

    def _create(self) -> None:
        if self._watch is None:
            self._watch = ExitWatch(self._end, lambda: self._writing)
            self._watch.install()
        self._client, experiment_id = open_experiment(self.tracking_uri, self.experiment)
        self.run_id = self._client.create_run(experiment_id, run_name=self.run_name).info.run_id

    def _introduce(self) -> None:
        """Say what the run is; apart from making it, so that an outage between the two loses nothing."""
        self._send_tags({**provenance_tags(), **self._first_tags})
        self._send_params(self._first_params)
        self._introduced = True

    def _end(self, status: str, error: BaseException | None) -> None:
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        self._writing = True
        try:
            self._terminate(status, error)
        except Exception as failure:
            self._warn("end", f"MLflow could not end the run ({error_line(failure)}), it stays RUNNING there")
        except BaseException:  # Ctrl-C or SIGTERM in the middle of this: once more, then obey
            with contextlib.suppress(Exception):
                self._terminate(status, error)
            raise
        finally:
            self._writing = False
            if self._watch is not None:
                self._watch.remove()
        if self._lost:
            warnings.warn(f"{self._lost} record(s) of this run did not reach MLflow.", RuntimeWarning, stacklevel=3)

    def _terminate(self, status: str, error: BaseException | None) -> None:
        if self.run_id is None:
            return
        if error is not None and not isinstance(error, KeyboardInterrupt):
            self._client.set_tag(self.run_id, "error", error_line(error))
        self._client.set_terminated(self.run_id, status)

    def _send_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = clean_keys(flat_params(params))
        other = sorted(name for name, text in texts.items() if self._logged_params.get(name, text) != text)
        if other:
            warnings.warn(
                f"the parameters {', '.join(other)} were recorded before and keep their first value.", stacklevel=5
            )
        new = {name: text for name, text in texts.items() if name not in self._logged_params}
        entities = [Param(name, text) for name, text in new.items()]
        for start in range(0, len(entities), BATCH):
            self._client.log_batch(self.run_id, params=entities[start : start + BATCH])
        self._logged_params.update(new)

    def _send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def _send_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(name, param_text(value)) for name, value in clean_keys(tags).items()]
        for start in range(0, len(entities), BATCH):
            self._client.log_batch(self.run_id, tags=entities[start : start + BATCH])

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
