"""Brings the records of one run to MLflow, for a training that goes on and for one that is long over.

The run is known by a key of its own, a tag it is made with. A request that made it may have got through although its
answer did not come back; looking for the key first makes that harmless, and lets a run be made days later with its own
start, name and tags.
"""

from __future__ import annotations

import json
from typing import Any

from monai_fpt.handlers._deliver import STALE, delete_tag, deliver, refusal
from monai_fpt.handlers._heartbeat import HEARTBEAT, heartbeat, owner_gone, read_heartbeat, same_process
from monai_fpt.handlers._records import error_line
from monai_fpt.handlers._spool import RunSpool
from monai_fpt.handlers._store import open_experiment

__all__ = ["RUN_KEY", "LiveElsewhere", "RunSender"]

RUN_KEY = "monai_fpt.run"
PARENT_TAG = "mlflow.parentRunId"
METRICS = 1000  # MLflow takes at most this many in one request


class LiveElsewhere(Exception):
    """Another process writes this run."""


class RunSender:
    """Make the run if need be and send what waits, in order. Raises whatever MLflow raises.

    Args:
        uri: the store.
        spool: what waits, and what the run is.
        known: whether the run's id in the spool is of this store.
    """

    def __init__(self, uri: str, spool: RunSpool, known: bool = True) -> None:
        self.uri = uri
        self.spool = spool
        self.client: Any = None
        self.experiment_id = ""
        self.run_id: str | None = None
        self.sent = 0
        self._known = known

    def connect(self) -> None:
        """Open the store and find or make the run.

        Raises:
            LiveElsewhere: the run is to be gone on with, but another process is at it.
        """
        if self.client is None:
            self.client, self.experiment_id = open_experiment(self.uri, self.spool.header["experiment"])
        if self.run_id is not None:
            return
        header = self.spool.header
        run = self._known_run() or self._found(header["key"])
        if run is None:
            run_id = self._made()
        else:
            _require_active(run)
            if header.get("resumed"):
                _require_free(run)
            run_id = str(run.info.run_id)
        if self._known:
            self.spool.change(run_id=run_id)
        self.run_id = run_id

    def drain(self) -> None:
        """Send all that waits. What MLflow refuses for good is put aside in the spool."""
        self.connect()
        assert self.run_id is not None
        limit = METRICS
        while records := self.spool.first(limit):
            try:
                deliver(self.client, self.run_id, records, self.spool)
            except Exception as error:
                if not refusal(error):
                    raise
                _require_active(self.client.get_run(self.run_id))
                if len(records) > 1:
                    limit = 1  # find the one that is refused
                else:
                    self.spool.refuse(records[0], error_line(error))
            else:
                self.spool.done(records)
                self.sent += len(records)

    def beat(self) -> None:
        """Tell the store that the run's process lives, and take the status back if someone thought otherwise."""
        if self.run_id is None:
            return
        self.client.set_tag(self.run_id, HEARTBEAT, json.dumps(heartbeat()))
        if self.client.get_run(self.run_id).info.status != "RUNNING":
            self.client.update_run(self.run_id, status="RUNNING")
            delete_tag(self.client, self.run_id, STALE)

    def _known_run(self) -> Any:
        from mlflow.exceptions import MlflowException

        run_id = self.spool.header.get("run_id") if self._known else None
        if run_id is None:
            return None
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.data.tags.get(RUN_KEY) == self.spool.header["key"] else None

    def _found(self, key: str) -> Any:
        """The run with this key, deleted or not. Empty doubles, which a repeated request left, are deleted."""
        from mlflow.entities import ViewType

        runs = self.client.search_runs([self.experiment_id], f"tags.`{RUN_KEY}` = '{key}'", ViewType.ALL)
        active = sorted(
            (run for run in runs if run.info.lifecycle_stage == "active"), key=lambda r: (_empty(r), str(r.info.run_id))
        )
        for double in active[1:]:
            if _empty(double):
                self.client.delete_run(double.info.run_id)
        return active[0] if active else (runs[0] if runs else None)

    def _made(self) -> str:
        header = self.spool.header
        tags = {**header["tags"], RUN_KEY: header["key"], HEARTBEAT: json.dumps(header["owner"])}
        if header["parent"]:
            tags[PARENT_TAG] = header["parent"]["run_id"] or self._parent(header["parent"]["key"])
        self.client.create_run(self.experiment_id, header["started"], tags, header["run_name"])
        return str(self._found(header["key"]).info.run_id)

    def _parent(self, key: str) -> str:
        run = self._found(key)
        if run is None:
            raise RuntimeError("the run that this one belongs to is not in the store yet.")
        return str(run.info.run_id)


def _empty(run: Any) -> bool:
    return run.info.status == "RUNNING" and not run.data.metrics and not run.data.params


def _require_active(run: Any) -> None:
    if run.info.lifecycle_stage != "active":
        raise RuntimeError(f"the MLflow run {run.info.run_id} is deleted: restore it.")


def _require_free(run: Any) -> None:
    beat = read_heartbeat(run.data.tags.get(HEARTBEAT))
    if run.info.status != "RUNNING" or beat is None or same_process(beat) or owner_gone(beat):
        return
    raise LiveElsewhere(f"process {beat['pid']} on {beat['host']} is still writing the run")
