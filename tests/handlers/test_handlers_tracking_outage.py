"""A store that goes away costs a training nothing and loses nothing: at the start, in the middle, at the end, and while
what waited is sent.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tracking_stores import DEAD, Line, all_runs, content, die, finished, fresh_store, lay_line

from monai_fpt.data import FPTDataList
from monai_fpt.handlers import FPTTracker, sync_tracking, tracked_run
from monai_fpt.handlers._heartbeat import heartbeat
from monai_fpt.handlers._spool import RunSpool

DATA = FPTDataList(("healthy", "ill"), [{"image": "/a/1.png", "key": "1.png", "label": 1}], [], [])


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return lay_line(monkeypatch)


class Training:
    """A tracked training of nine records in three parts; ``down`` says in which parts the store is away."""

    def __init__(self, folder: Path, line: Line, down: tuple[str, ...], store: str | None = None) -> None:
        self.run_dir = folder / "run"
        self.uri = store or fresh_store(folder / "store")
        self.line = line
        self.down = down
        self.tracker = FPTTracker(self.run_dir, run_name="one", tracking_uri=self.uri, seed=3, tags={"site": "here"})
        (folder / "table.csv").write_text("a,b\n")
        self.table = folder / "table.csv"

    def run(self, close: bool = True) -> FPTTracker:
        tracker = self.tracker
        self.line.down = "start" in self.down
        tracker.log_params({"depth": 6})
        tracker.log_data(DATA)
        self.line.down = "middle" in self.down
        tracker.log_metrics({"loss": 2.0, "nothing": math.nan}, 1)
        tracker.log_metrics({"loss": 1.0}, 2)
        tracker.log_artifact(self.table, "tables")
        self.table.write_text("changed afterwards\n")
        tracker.log_dict({"a": 1}, "config.json")
        tracker.set_tags({"note": "first"})
        tracker.set_tags({"note": "second"})
        self.line.down = "end" in self.down
        if close:
            tracker.close()
        self.line.down = False
        return tracker


def simple(found: dict[str, Any]) -> dict[str, Any]:
    """NaN is not equal to itself."""
    return json.loads(json.dumps(found, default=lambda b: b.decode()))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the training leaves in a store that is always there."""
    folder = tmp_path_factory.mktemp("expected")
    training = Training(folder, Line(), ())
    training.run()
    return json.dumps(simple(content(training.uri, all_runs(training.uri)["one"])), sort_keys=True)


def same(found: dict[str, Any], expected: str) -> bool:
    return json.dumps(simple(found), sort_keys=True) == expected


def test_what_a_sound_store_gets(expected: str) -> None:
    found = json.loads(expected)
    assert found["status"] == "FINISHED"
    assert found["metrics"]["loss"] == [[1, 2.0], [2, 1.0]] and math.isnan(found["metrics"]["nothing"][0][1])
    assert found["params"] == {"seed": "3", "depth": "6"}
    assert found["tags"].items() >= {"note": "second", "site": "here"}.items()
    assert found["files"] == {"tables/table.csv": "a,b\n", "config.json": '{\n  "a": 1\n}'}
    assert found["inputs"][0][0] == "data-training"


OUTAGES = [
    *(("start",), ("middle",), ("end",), ("start", "middle", "end")),
    *(pytest.param(parts, marks=pytest.mark.slow) for parts in (("start", "middle"), ("middle", "end"))),
]


@pytest.mark.parametrize("down", OUTAGES, ids=" and ".join)
def test_after_an_outage_and_a_sync_nothing_is_missing(
    down: tuple[str, ...], tmp_path: Path, line: Line, expected: str
) -> None:
    training = Training(tmp_path, line, down)
    tracker = training.run()
    assert finished(tracker) is ("end" not in down)
    report = sync_tracking(training.run_dir)
    assert report.complete
    assert [run.run_name for run in report.runs] == ([] if "end" not in down else ["one"])
    assert same(content(training.uri, all_runs(training.uri)["one"]), expected)
    assert finished(tracker)
    assert str(sync_tracking(training.run_dir)) == "Nothing waits to be sent."


def test_a_run_that_never_reached_the_store_is_made_with_its_own_times(tmp_path: Path, line: Line) -> None:
    training = Training(tmp_path, line, ("start", "middle", "end"))
    before = heartbeat()["time"]
    training.run()
    after = heartbeat()["time"]
    assert all_runs(training.uri) == {} and tracked_run(training.run_dir).run_id is None  # type: ignore[union-attr]
    (report,) = sync_tracking(training.run_dir).runs
    run = all_runs(training.uri)["one"]
    assert before <= run.info.start_time <= run.info.end_time <= after
    assert run.data.tags["site"] == "here" and "version.torch" in run.data.tags
    assert report.run_id == run.info.run_id == tracked_run(training.run_dir).run_id  # type: ignore[union-attr]
    assert report.sent == 12 and report.left == 0


RESUMED_WHEN = {"the store is still away": True, "the store is back": False}


@pytest.mark.parametrize("away", RESUMED_WHEN.values(), ids=RESUMED_WHEN)
def test_a_run_that_failed_during_an_outage_and_was_resumed_is_synced_as_it_ended_last(
    away: bool, tmp_path: Path, line: Line
) -> None:
    run_dir, uri = tmp_path / "run", fresh_store(tmp_path / "store")
    first = FPTTracker(run_dir, run_name="one", tracking_uri=uri)
    first.log_metrics({"loss": 3.0}, 1)
    line.down = True
    first.log_metrics({"loss": 2.0}, 2)
    (run_dir / "last.pt").touch()
    first.fail(RuntimeError("no memory"))
    assert all_runs(uri)["one"].info.status == "RUNNING"

    line.down = away
    resumed = FPTTracker(run_dir, tracking_uri=uri, resume=True)
    resumed.log_metrics({"loss": 1.0}, 3)
    before = heartbeat()["time"]
    line.down = True
    resumed.close()
    line.down = False
    assert not finished(resumed)

    report = sync_tracking(run_dir)
    assert report.complete and [run.run_name for run in report.runs] == ["one"]
    run = all_runs(uri)["one"]
    assert run.info.status == "FINISHED" and run.info.end_time >= before
    assert not {"error", "stale"} & run.data.tags.keys()
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert run.data.metrics["loss"] == 1.0
    assert finished(resumed) and sync_tracking(run_dir).runs == ()


class Killed(BaseException):
    """The process is gone: nothing after this happens."""


QUICK = {("before", 2), ("after", 2), ("after", 5), ("before", 8), ("after", 12)}
REQUESTS = [
    pytest.param(when, number, marks=[] if (when, number) in QUICK else pytest.mark.slow, id=f"{when} request {number}")
    for when in ("before", "after")
    for number in range(1, 16)
]


@pytest.mark.parametrize(("when", "number"), REQUESTS)
def test_a_sync_may_be_killed_at_any_request(when: str, number: int, tmp_path: Path, line: Line, expected: str) -> None:
    training = Training(tmp_path, line, ("start", "middle", "end"))
    training.run()
    seen = {"before": 0, "after": 0}

    def kill(now: str, name: str) -> None:
        seen[now] += 1
        if now == when and seen[now] == number:
            raise Killed

    line.watch = kill
    with pytest.raises(Killed):
        sync_tracking(training.run_dir)
    assert seen[when] == number
    line.watch = lambda *_: None
    assert sync_tracking(training.run_dir).complete
    assert same(content(training.uri, all_runs(training.uri)["one"]), expected)


def test_a_sync_against_a_store_that_is_away_says_so_and_keeps_all(tmp_path: Path, line: Line, expected: str) -> None:
    training = Training(tmp_path, line, ("start", "middle", "end"))
    training.run()
    line.down = True
    report = sync_tracking(training.run_dir)
    assert not report.complete and str(report) == "one: 0 sent, 12 waiting: Away: no answer"
    line.down = False
    assert sync_tracking(training.run_dir).complete
    assert same(content(training.uri, all_runs(training.uri)["one"]), expected)


def test_a_sync_into_another_store_makes_the_run_there(tmp_path: Path, line: Line, expected: str) -> None:
    training = Training(tmp_path, line, ("start", "middle", "end"))
    training.run()
    other = fresh_store(tmp_path / "other")
    assert sync_tracking(tmp_path, other).complete
    assert all_runs(training.uri) == {}
    assert same(content(other, all_runs(other)["one"]), expected)


def test_a_request_that_got_through_without_an_answer_makes_no_second_run(tmp_path: Path, line: Line) -> None:
    tracker = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=fresh_store(tmp_path))

    def cut(when: str, name: str) -> None:
        if (when, name) == ("after", "create_run"):
            raise TimeoutError("no answer came back")

    line.watch = cut
    tracker.log_metrics({"loss": 1.0})
    assert tracker.run_id is None
    line.watch = lambda *_: None
    tracker.close()
    assert list(all_runs(tracker.tracking_uri)) == ["one"]


def test_a_training_that_was_killed_is_sent_as_killed(tmp_path: Path, line: Line) -> None:
    training = Training(tmp_path, line, ("middle", "end"))
    tracker = training.run(close=False)
    (folder,) = (training.run_dir / "mlflow_spool").iterdir()
    assert "still writes it" in str(sync_tracking(training.run_dir))  # this process lives

    die(tracker)
    RunSpool(folder).change(owner=DEAD)
    assert sync_tracking(training.run_dir).complete
    run = all_runs(training.uri)["one"]
    assert run.info.status == "KILLED" and "was gone" in run.data.tags["stale"]
    assert run.data.metrics["loss"] == 1.0 and run.data.tags["note"] == "second"


def test_a_record_that_the_store_refuses_does_not_hold_up_the_others(tmp_path: Path, line: Line) -> None:
    training = Training(tmp_path, line, ())
    tracker = training.run(close=False)
    assert tracker._session is not None
    tracker._session.spool.append("tags", {"values": {"": "a key that MLflow never takes"}})
    with pytest.warns(RuntimeWarning, match="refuses a record for good"):
        tracker.log_metrics({"loss": 0.5}, 3)
    with pytest.warns(RuntimeWarning, match="1 record"):
        tracker.close()
    assert all_runs(training.uri)["one"].data.metrics["loss"] == 0.5
    (refused,) = (training.run_dir / "mlflow_spool").glob("*/refused.jsonl")
    assert json.loads(refused.read_text())["data"] == {"values": {"": "a key that MLflow never takes"}}
    (report,) = sync_tracking(training.run_dir).runs
    assert (report.left, report.refused) == (0, 1)


def test_a_run_that_was_deleted_in_the_store_waits_until_it_is_restored(tmp_path: Path, line: Line) -> None:
    training = Training(tmp_path, line, ())
    tracker = training.run(close=False)
    MlflowClient(training.uri).delete_run(tracker.run_id)
    tracker.log_metrics({"loss": 0.5}, 3)
    tracker.close()
    assert "is deleted: restore it" in str(sync_tracking(training.run_dir))
    MlflowClient(training.uri).restore_run(tracker.run_id)
    assert sync_tracking(training.run_dir).complete
    assert all_runs(training.uri)["one"].data.metrics["loss"] == 0.5


def test_after_the_first_failure_the_training_waits_for_the_store_no_more(tmp_path: Path, line: Line) -> None:
    training = Training(tmp_path, line, ())
    tracker = training.run(close=False)
    asked: list[str] = []

    def away(when: str, name: str) -> None:
        asked.append(name)
        raise TimeoutError("ten seconds")

    line.watch = away
    for step in range(20):
        tracker.log_metrics({"loss": 1.0}, 10 + step)
    assert asked == ["log_batch"]
    line.watch = lambda *_: None
    tracker.close()
    assert all_runs(training.uri)["one"].info.status == "FINISHED"


def test_the_thread_sends_what_waits_when_the_store_is_back(
    tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=fresh_store(tmp_path), retry_seconds=0.2)
    line.down = True
    tracker.log_metrics({"loss": 1.0})
    line.down = False
    session = tracker._session
    assert session is not None
    for _ in range(300):
        if tracker.run_id is not None and not session.down:
            break
        session._pulse._stopped.wait(0.1)
    assert all_runs(tracker.tracking_uri)["one"].data.metrics["loss"] == 1.0
    tracker.close()


def test_a_spool_with_a_password_in_its_address_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://anna:secret@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = FPTTracker(tmp_path, tracking_uri=uri)
    tracker.start()
    tracker.close()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert kept == []
    assert "has a password, which is not kept; give it again" in str(sync_tracking(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "password" not in str(sync_tracking(tmp_path))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the run_dir of a training"):
        sync_tracking(tmp_path / "nowhere")
