"""A run whose process is gone is ended by the next one that starts, and no other run is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from tracking_stores import DEAD, Line, all_runs, die, fresh_store, lay_line

from monai_fpt.handlers import FPTTracker
from monai_fpt.handlers._heartbeat import (
    HEARTBEAT,
    STALE_SECONDS,
    heartbeat,
    owner_gone,
    read_heartbeat,
    same_process,
)

MOMENT = int(time.time() * 1000)
OLD = MOMENT - int((STALE_SECONDS + 60) * 1000)
ELSEWHERE = {"space": "another machine", "host": "elsewhere"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return lay_line(monkeypatch)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


OWNERS: list[Any] = [
    pytest.param({}, False, id="this process"),
    pytest.param({"time": OLD}, False, id="this process, silent for long"),
    pytest.param({"pid": dead_pid()}, True, id="a process that has ended"),
    pytest.param({"started": "long ago"}, True, id="a number that was given again"),
    pytest.param({**ELSEWHERE, "pid": 1}, False, id="another machine, heard of just now"),
    pytest.param({**ELSEWHERE, "time": OLD}, True, id="another machine, silent for long"),
    pytest.param({"started": ""}, False, id="unknown start, heard of just now"),
    pytest.param({"started": "", "time": OLD}, True, id="unknown start, silent for long"),
]


@pytest.mark.parametrize(("changed", "gone"), OWNERS)
def test_whether_the_process_of_a_run_is_gone(changed: dict[str, Any], gone: bool) -> None:
    assert owner_gone(heartbeat() | changed) is gone


@pytest.mark.skipif(sys.platform != "linux", reason="compares with what psutil reads from Linux")
def test_the_start_of_a_process_is_counted_from_the_start_of_the_machine() -> None:
    ticks = float(heartbeat()["started"]) / os.sysconf("SC_CLK_TCK")
    assert psutil.boot_time() + ticks == pytest.approx(psutil.Process().create_time(), abs=2)
    assert same_process(heartbeat()) and not same_process(DEAD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_ended_and_that_nobody_waited_for_is_gone() -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, json.dumps(heartbeat()).encode())
        os._exit(0)
    beat = json.loads(os.read(ready, 4096))
    while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert owner_gone(beat)
    os.waitpid(child, 0)


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", "no json", json.dumps(heartbeat() | {"pid": "seven"})])
def test_a_tag_that_is_no_heartbeat_is_none(text: str | None) -> None:
    assert read_heartbeat(text) is None


def running(uri: str, name: str, tags: dict[str, str]) -> str:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name("monai_fpt")
    experiment = found.experiment_id if found else client.create_experiment("monai_fpt")
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def test_the_next_start_ends_what_nobody_runs_and_nothing_else(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    beats = {
        "killed": DEAD | {"time": MOMENT},
        "live": heartbeat() | {"time": OLD},
        "live elsewhere": heartbeat() | ELSEWHERE,
        "silent elsewhere": heartbeat() | ELSEWHERE | {"time": OLD},
    }
    for name, beat in beats.items():
        running(uri, name, {HEARTBEAT: json.dumps(beat)})
    running(uri, "foreign", {})
    running(uri, "odd", {HEARTBEAT: "{}"})
    ended = running(uri, "ended", {HEARTBEAT: json.dumps(DEAD)})
    MlflowClient(uri).set_terminated(ended, "FINISHED")

    tracker = FPTTracker(tmp_path / "run", run_name="new", tracking_uri=uri)
    with pytest.warns(RuntimeWarning, match=r"2 run\(s\) of processes that are gone are KILLED now"):
        tracker.start()
    tracker.close()
    runs = all_runs(uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "killed": "KILLED",
        "live": "RUNNING",
        "live elsewhere": "RUNNING",
        "silent elsewhere": "KILLED",
        "foreign": "RUNNING",
        "odd": "RUNNING",
        "ended": "FINISHED",
        "new": "FINISHED",
    }
    assert {name for name, run in runs.items() if "stale" in run.data.tags} == {"killed", "silent elsewhere"}
    assert runs["killed"].info.end_time == MOMENT and runs["silent elsewhere"].info.end_time == OLD
    assert runs["killed"].data.tags["stale"] == (
        f"process {os.getpid()} on {DEAD['host']} was gone without ending the run"
    )


def test_a_run_that_ends_while_it_is_judged_keeps_its_status(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    other = running(uri, "other", {HEARTBEAT: json.dumps(DEAD)})

    def end(when: str, name: str) -> None:
        if (when, name) == ("after", "search_runs"):
            MlflowClient(uri).set_terminated(other, "FINISHED")

    tracker = FPTTracker(tmp_path / "run", run_name="new", tracking_uri=uri)
    line.watch = end
    tracker.start()
    tracker.close()
    assert all_runs(uri)["other"].info.status == "FINISHED" and "stale" not in all_runs(uri)["other"].data.tags


def test_an_open_run_carries_who_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = FPTTracker(tmp_path / "run", tracking_uri=fresh_store(tmp_path))
    tracker.start()
    client = MlflowClient(tracker.tracking_uri)
    assert tracker._session is not None
    first = tracker._session.spool.header["owner"]  # what the run was made with
    deadline = time.monotonic() + 30
    while True:
        beat = read_heartbeat(client.get_run(tracker.run_id).data.tags[HEARTBEAT])
        assert beat is not None and same_process(beat) and time.monotonic() < deadline
        if beat["time"] > first["time"]:
            break
        time.sleep(0.05)
    tracker.close()


def test_a_live_run_that_was_taken_for_dead_takes_its_status_back(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    cut_off = FPTTracker(tmp_path / "one", run_name="cut off", tracking_uri=uri)
    cut_off.start()
    line.down = True
    with pytest.warns(RuntimeWarning, match="does not take the record"):
        cut_off.log_metrics({"loss": 1.0})
    line.down = False
    silent = json.dumps(heartbeat() | ELSEWHERE | {"time": OLD})
    MlflowClient(uri).set_tag(cut_off.run_id, HEARTBEAT, silent)  # as its machine looks from here
    other = FPTTracker(tmp_path / "two", run_name="other", tracking_uri=uri)
    with pytest.warns(RuntimeWarning, match="KILLED now"):
        other.start()
    assert all_runs(uri)["cut off"].info.status == "KILLED"

    assert cut_off.flush()
    run = all_runs(uri)["cut off"]
    assert run.info.status == "RUNNING" and "stale" not in run.data.tags
    cut_off.close()
    other.close()
    assert all_runs(uri)["cut off"].info.status == "FINISHED"


def test_a_run_that_was_ended_as_stale_finishes_by_its_late_sync(tmp_path: Path, line: Line) -> None:
    from monai_fpt.handlers import sync_tracking

    uri = fresh_store(tmp_path)
    tracker = FPTTracker(tmp_path / "one", run_name="one", tracking_uri=uri)
    tracker.start()
    line.down = True
    with pytest.warns(RuntimeWarning, match="wait in mlflow_spool"):
        tracker.close()
    line.down = False
    MlflowClient(uri).set_tag(tracker.run_id, HEARTBEAT, json.dumps(DEAD))
    other = FPTTracker(tmp_path / "two", run_name="two", tracking_uri=uri)
    with pytest.warns(RuntimeWarning, match="KILLED now"):
        other.start()
    other.close()
    assert all_runs(uri)["one"].info.status == "KILLED"
    assert sync_tracking(tmp_path / "one").complete
    assert all_runs(uri)["one"].info.status == "FINISHED" and "stale" not in all_runs(uri)["one"].data.tags
    assert not (tmp_path / "one" / "mlflow_spool").exists()


def test_a_process_that_lives_takes_its_status_back_with_its_next_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = FPTTracker(tmp_path / "one", run_name="one", tracking_uri=fresh_store(tmp_path))
    tracker.start()
    client = MlflowClient(tracker.tracking_uri)
    client.set_tag(tracker.run_id, "stale", "silent")
    client.set_terminated(tracker.run_id, "KILLED")
    assert tracker._session is not None
    with tracker._session._sending:  # a heartbeat under way would put the next one off
        tracker._session._next_beat = 0
    deadline = time.monotonic() + 30
    while (
        client.get_run(tracker.run_id).info.status != "RUNNING" or "stale" in client.get_run(tracker.run_id).data.tags
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    tracker.close()


def test_a_new_training_reminds_of_what_an_earlier_one_could_not_send(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    killed = FPTTracker(tmp_path / "run", run_name="killed", tracking_uri=uri)
    killed.start()
    assert killed._session is not None
    die(killed)
    killed._session.spool.change(owner=DEAD)
    second = FPTTracker(tmp_path / "run", run_name="second", tracking_uri=uri)
    with pytest.warns(RuntimeWarning, match=r"1 earlier run\(s\) of this folder have records .* tracking sync"):
        second.start()
    second.close()


def test_a_copy_of_a_run_that_someone_made_in_the_store_is_left_alone(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    tracker = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=uri, system_metrics=False)
    tracker.log_metrics({"loss": 1.0})
    client = MlflowClient(uri)
    original = client.get_run(tracker.run_id)
    copy = client.create_run(original.info.experiment_id, tags=original.data.tags).info.run_id
    client.log_metric(copy, "loss", 1.0)
    line.down = True
    with pytest.warns(RuntimeWarning):
        tracker.close()
    line.down = False
    from monai_fpt.handlers import sync_tracking

    assert sync_tracking(tmp_path).complete
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert client.get_run(copy).info.lifecycle_stage == "active" and client.get_run(copy).info.status == "RUNNING"


def test_a_store_that_cannot_be_searched_does_not_stop_the_training(tmp_path: Path, line: Line) -> None:
    tracker = FPTTracker(tmp_path / "one", tracking_uri=fresh_store(tmp_path))

    def fail(when: str, name: str) -> None:
        if name == "search_runs" and tracker.run_id is not None:
            raise OSError("no")

    line.watch = fail
    with pytest.warns(RuntimeWarning, match="could not be looked for"):
        tracker.start()
    assert tracker.run_id is not None
    die(tracker)
