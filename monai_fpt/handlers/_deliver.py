"""How a record becomes a request to MLflow: the only place that writes into a run.

Each kind of record may be delivered twice and is there once: metrics carry the time they were recorded at, and MLflow
keeps equal rows once; parameters are the same; tags, files and statuses replace themselves; a data set is known by name
and digest.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.handlers._heartbeat import HEARTBEAT
from monai_fpt.handlers._spool import RunSpool, SpoolRecord

__all__ = ["CHANGED", "STALE", "RecordRefused", "delete_tag", "deliver", "refusal"]

BATCH = 100  # MLflow takes at most this many parameters or tags in one request
STALE = "stale"
CHANGED = "changed."
INVALID = "INVALID_PARAMETER_VALUE"


class RecordRefused(Exception):
    """A record that no store will ever take."""


def refusal(error: Exception) -> bool:
    """Whether it is the record that is wrong, and not the store that is ill."""
    return isinstance(error, RecordRefused) or getattr(error, "error_code", None) == INVALID


def deliver(client: Any, run_id: str, records: list[SpoolRecord], spool: RunSpool) -> None:
    """Send one record, or several of metrics.

    Args:
        client: an ``MlflowClient``.
        run_id: of the run that exists.
        records: see ``RunSpool.first``.
        spool: where the content of files lies.

    Raises:
        RecordRefused: the content of a file is lost.
        Exception: whatever MLflow raises.
    """
    record = records[0]
    data = record.data
    if record.kind == "metrics":
        _metrics(client, run_id, records)
    elif record.kind == "params":
        _params(client, run_id, data["values"])
    elif record.kind == "tags":
        send_tags(client, run_id, data["values"])
    elif record.kind == "file":
        _file(client, run_id, record, spool)
    elif record.kind == "inputs":
        _inputs(client, run_id, data["values"])
    elif record.kind == "reopen":
        client.set_tag(run_id, HEARTBEAT, json.dumps(data["heartbeat"]))  # before it is RUNNING, or others reap it
        client.update_run(run_id, status="RUNNING")
        delete_tag(client, run_id, STALE)
        delete_tag(client, run_id, "error")
    elif record.kind == "end":
        _end(client, run_id, record)
    else:
        raise RecordRefused(f"records of the kind {record.kind!r} are not known to this version")


def send_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags."""
    from mlflow.entities import RunTag

    entities = [RunTag(name, value) for name, value in tags.items()]
    for start in range(0, len(entities), BATCH):
        client.log_batch(run_id, tags=entities[start : start + BATCH], synchronous=True)


def delete_tag(client: Any, run_id: str, name: str) -> None:
    """Take a tag away; one that is not there is no error."""
    if name in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, name)


def _metrics(client: Any, run_id: str, records: list[SpoolRecord]) -> None:
    from mlflow.entities import Metric

    entities = [
        Metric(name, float(value), record.time, record.data["step"])
        for record in records
        for name, value in record.data["values"].items()
    ]
    client.log_batch(run_id, metrics=entities, synchronous=True)


def _params(client: Any, run_id: str, params: Mapping[str, str]) -> None:
    """Parameters keep their first value; another one, which a resumed training may have, becomes a tag."""
    try:
        _send_params(client, run_id, params)
    except Exception as error:
        if not refusal(error):
            raise
        there = client.get_run(run_id).data.params
        other = {name: text for name, text in params.items() if there.get(name, text) != text}
        if not other:
            raise
        _send_params(client, run_id, {name: text for name, text in params.items() if name not in other})
        send_tags(client, run_id, {f"{CHANGED}{name}"[:250]: text for name, text in other.items()})


def _send_params(client: Any, run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    entities = [Param(name, text) for name, text in params.items()]
    for start in range(0, len(entities), BATCH):
        client.log_batch(run_id, params=entities[start : start + BATCH], synchronous=True)


def _file(client: Any, run_id: str, record: SpoolRecord, spool: RunSpool) -> None:
    name, folder = record.data["name"], record.data["folder"]
    path = spool.path_of(record)
    if path is not None and path.name == name:
        client.log_artifact(run_id, str(path), folder)
        return
    content = path.read_bytes() if path is not None else record.content
    if not isinstance(content, bytes):
        raise RecordRefused(f"the content of the artifact {name!r} is lost")
    with tempfile.TemporaryDirectory() as beside:
        (Path(beside) / name).write_bytes(content)
        client.log_artifact(run_id, str(Path(beside) / name), folder)


def _inputs(client: Any, run_id: str, inputs: list[dict[str, Any]]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entities = [
        DatasetInput(
            Dataset(
                name=one["name"],
                digest=one["digest"],
                source_type=one["source_type"],
                source=one["source"],
                schema=None,
                profile=one["profile"],
            ),
            tags=[InputTag("mlflow.data.context", one["context"])],
        )
        for one in inputs
    ]
    client.log_inputs(run_id, entities)


def _end(client: Any, run_id: str, record: SpoolRecord) -> None:
    data = record.data
    if data.get("error"):
        client.set_tag(run_id, "error", data["error"])
    if data.get("stale"):
        client.set_tag(run_id, STALE, data["stale"])
    else:
        delete_tag(client, run_id, STALE)
    client.set_terminated(run_id, data["status"], record.time)
