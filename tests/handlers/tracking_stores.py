"""Stores for the tests of tracking: a fresh one in no time, and one that is out of reach when a test says so."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import monai_fpt.handlers._sender as sender
from monai_fpt.handlers import FPTTracker
from monai_fpt.handlers._heartbeat import heartbeat
from monai_fpt.handlers._store import open_experiment


@functools.lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp())
    open_experiment(f"sqlite:///{folder}/mlflow.db", "monai_fpt_template")
    return folder / "mlflow.db"


def fresh_store(folder: Path) -> str:
    """The address of a new SQLite store in a folder; copied, for MLflow takes seconds to make one."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_template(), folder / "mlflow.db")
    return f"sqlite:///{folder.resolve()}/mlflow.db"


class Away(ConnectionError):
    """What a client says whose server does not answer."""


class Line:
    """The way to every store: ``down`` cuts it; ``watch`` sees every call before and after it is made."""

    def __init__(self) -> None:
        self.down = False
        self.watch: Callable[[str, str], None] = lambda when, name: None

    def opened(self, uri: str, name: str) -> tuple[Any, str]:
        if self.down:
            raise Away("no answer")
        client, experiment_id = open_experiment(uri, name)
        return Client(self, client), experiment_id


class Client:
    """An ``MlflowClient`` behind a line."""

    def __init__(self, line: Line, client: MlflowClient) -> None:
        self._line, self._client = line, client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def passed(*args: Any, **kwargs: Any) -> Any:
            if self._line.down:
                raise Away("no answer")
            self._line.watch("before", name)
            result = call(*args, **kwargs)
            self._line.watch("after", name)
            return result

        return passed


def lay_line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Let all trackers of a test use one line."""
    line = Line()
    monkeypatch.setattr(sender, "open_experiment", line.opened)
    return line


def all_runs(uri: str) -> dict[str, Any]:
    """All runs of a store by name; two of one name are an error."""
    client = MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def content(uri: str, run: Any) -> dict[str, Any]:
    """All that a person finds in a run, but for ids, versions and numbers of the machine."""
    client = MlflowClient(uri)
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    files = {}
    for folder in ("", "tables", "figures"):
        for info in client.list_artifacts(run.info.run_id, folder or None):
            if not info.is_dir:
                files[info.path] = Path(client.download_artifacts(run.info.run_id, info.path)).read_bytes()
    own = ("version.", "monai_fpt.", "git_", "mlflow.")
    return {
        "status": run.info.status,
        "metrics": {n: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, n)] for n in names},
        "params": run.data.params,
        "tags": {name: value for name, value in run.data.tags.items() if not name.startswith(own)},
        "inputs": sorted((one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs),
        "files": files,
    }


def die(tracker: FPTTracker) -> None:
    """Let a tracker be as if its process were gone: it never says another word."""
    tracker._closed = True
    assert tracker._session is not None
    tracker._session._ending = True
    tracker._session._pulse.stop()
    tracker._watch.remove()


DEAD = {**heartbeat(), "started": "another process had this number"}


def finished(tracker: FPTTracker) -> bool:
    """Whether nothing of a tracker waits."""
    return not (tracker.run_dir / "mlflow_spool").exists()
