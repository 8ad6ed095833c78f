"""Open an MLflow store so that many processes may do it at once.

- The first process that opens a SQLite store migrates it from nothing; two that do so together break each other
  ("duplicate column name"). A lock file beside the database serialises the opening. The lock is also held for stores
  that exist, where it costs milliseconds.
- ``mlflow.set_experiment`` loses a race silently (the loser's run goes to the experiment "Default") and changes the
  state of the whole process. Here the experiment's id is looked up or made, and looked up again when another process
  was quicker.
- MLflow's defaults wait for minutes on a server that is gone. Unless the user has set them, retries and time limits are
  low.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_fpt.handlers._addresses import hidden_address

__all__ = ["SQLITE", "checked_uri", "fpt_tracking_uri", "open_experiment", "quiet_loggers", "sqlite_file"]

ARTIFACT_FOLDER = "mlartifacts"
DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
LOCK_SECONDS = 300
REPEATED = {"mlflow.store.db.utils": logging.CRITICAL, "urllib3.connectionpool": logging.ERROR}
HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def fpt_tracking_uri(run_dir: str | Path) -> str:
    """The store of a run that names none: ``MLFLOW_TRACKING_URI``, else a SQLite file in the run's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(Path(run_dir).resolve() / DATABASE).as_posix()}"


def checked_uri(uri: str) -> str:
    """``uri`` itself unless it is a folder, which MLflow no longer accepts as a store.

    Raises:
        ValueError: it is a path or a ``file:`` address.
    """
    if uri.startswith("file:") or ("://" not in uri and not uri.startswith("databricks")):
        raise ValueError(
            f"MLflow keeps no runs in folders any more but tracking_uri is {uri!r}: "
            f"give {SQLITE}<path>/{DATABASE} or the address of a server."
        )
    return uri


def open_experiment(uri: str, name: str) -> tuple[Any, str]:
    """A client of the store and the id of the experiment, made when missing.

    Args:
        uri: the store, see ``checked_uri``.
        name: of the experiment.

    Raises:
        RuntimeError: the experiment is deleted in this store.
        Exception: whatever MLflow raises when the store cannot be opened.
    """
    if hidden_address(uri) != uri:  # MLflow prints the address of each run that ends
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for variable, value in HTTP_DEFAULTS.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    with _sqlite_lock(uri):
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment_id(client, uri, name)


def _experiment_id(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(uri)))
        except MlflowException as error:
            experiment = client.get_experiment_by_name(name)  # another process was quicker
            if experiment is None:
                raise error
    if experiment.lifecycle_stage != "active":
        raise RuntimeError(f"the MLflow experiment {name!r} is deleted: restore it or name another one.")
    return str(experiment.experiment_id)


@contextlib.contextmanager
def quiet_loggers(levels: Mapping[str, int] = REPEATED) -> Iterator[None]:
    """Let loggers say only what is as grave as ``levels``; by default those that repeat what is raised anyway."""
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite store; None for any other store."""
    return Path(uri[len(SQLITE) :].split("?")[0]).resolve() if uri.startswith(SQLITE) else None


def _artifact_location(uri: str) -> str | None:
    """Beside the database; a server decides for itself."""
    database = sqlite_file(uri)
    return None if database is None else (database.parent / ARTIFACT_FOLDER).as_uri()


@contextlib.contextmanager
def _sqlite_lock(uri: str) -> Iterator[None]:
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with (
        quiet_loggers({"alembic": logging.WARNING}),  # thirty lines about migrations are no news
        FileLock(f"{database}.lock", timeout=LOCK_SECONDS),
    ):
        yield
