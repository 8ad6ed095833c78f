"""A resumed training goes on in its own run, and only there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tracking_stores import DEAD, Line, all_runs, die, finished, fresh_store, lay_line

from monai_fpt.handlers import FPTTracker, sync_tracking, tracked_run
from monai_fpt.handlers._heartbeat import HEARTBEAT, heartbeat
from monai_fpt.handlers._run_file import RUN_FILE, expanded_uri, stored_uri
from monai_fpt.handlers._spool import RunSpool


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return lay_line(monkeypatch)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A folder with a training that was stopped after its first epoch, and its store."""
    folder = tmp_path / "run"
    fresh_store(folder)
    first = FPTTracker(folder, run_name="first", params={"lr": 0.1, "resume": False}, tags={"site": "here"})
    first.log_metrics({"loss": 2.0}, 1)
    (folder / "last.pt").touch()
    first.fail(RuntimeError("lost power"))
    return folder


def steps(uri: str, run_id: str, name: str = "loss") -> list[int]:
    return [metric.step for metric in MlflowClient(uri).get_metric_history(run_id, name)]


def test_a_resumed_training_goes_on_in_the_same_run(run_dir: Path) -> None:
    before = tracked_run(run_dir)
    assert before is not None and before.run_id is not None and before.run_name == "first"
    resumed = FPTTracker(run_dir, resume=True, params={"lr": 0.1, "resume": True})
    resumed.log_metrics({"loss": 1.0}, 2)
    run = all_runs(resumed.tracking_uri)["first"]
    assert resumed.run_id == before.run_id == run.info.run_id and resumed.run_name == "first"
    assert run.info.status == "RUNNING" and "error" not in run.data.tags
    began = heartbeat()["time"]
    resumed.close()
    run = all_runs(resumed.tracking_uri)["first"]
    assert run.info.status == "FINISHED" and run.info.end_time >= began
    assert steps(resumed.tracking_uri, run.info.run_id) == [1, 2]
    assert run.data.params == {"lr": "0.1", "resume": "False"} and run.data.tags["changed.resume"] == "True"
    assert run.data.tags["site"] == "here"
    assert tracked_run(run_dir) == before


def test_a_training_that_was_killed_goes_on_with_what_it_had_not_sent(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    killed = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=uri)
    killed.log_metrics({"loss": 3.0}, 1)
    line.down = True
    with pytest.warns(RuntimeWarning, match="does not take the record"):
        killed.log_metrics({"loss": 2.0}, 2)
    die(killed)
    line.down = False
    note = tmp_path / "run" / RUN_FILE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"owner": DEAD}))
    MlflowClient(uri).set_tag(killed.run_id, HEARTBEAT, json.dumps(DEAD))

    resumed = FPTTracker(tmp_path / "run", tracking_uri=uri, resume=True)
    resumed.log_metrics({"loss": 1.0}, 3)
    resumed.close()
    run = all_runs(uri)["one"]
    assert run.info.status == "FINISHED" and steps(uri, run.info.run_id) == [1, 2, 3] and finished(resumed)


def test_a_resume_while_the_store_is_away_is_sent_later_in_order(run_dir: Path, line: Line) -> None:
    line.down = True
    resumed = FPTTracker(run_dir, resume=True)
    with pytest.warns(RuntimeWarning):
        resumed.log_metrics({"loss": 1.0}, 2)
        resumed.close()
    line.down = False
    again = FPTTracker(run_dir, resume=True)
    again.log_metrics({"loss": 0.5}, 3)
    again.close()
    run = all_runs(again.tracking_uri)["first"]
    assert run.info.status == "FINISHED" and steps(again.tracking_uri, run.info.run_id) == [1, 2, 3]
    assert sync_tracking(run_dir).runs == ()


def test_a_run_that_never_reached_the_store_is_resumed_too(tmp_path: Path, line: Line) -> None:
    uri = fresh_store(tmp_path)
    line.down = True
    first = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=uri)
    with pytest.warns(RuntimeWarning):
        first.log_metrics({"loss": 2.0}, 1)
        first.close("KILLED")
    line.down = False
    resumed = FPTTracker(tmp_path / "run", tracking_uri=uri, resume=True)
    resumed.log_metrics({"loss": 1.0}, 2)
    resumed.close()
    run = all_runs(uri)["one"]
    assert list(all_runs(uri)) == ["one"] and run.info.status == "FINISHED"
    assert steps(uri, run.info.run_id) == [1, 2]


def test_without_resume_a_run_is_a_new_one_and_the_trained_model_keeps_its_own(run_dir: Path) -> None:
    before = tracked_run(run_dir)
    evaluation = FPTTracker(run_dir, run_name="evaluation")
    evaluation.start()
    evaluation.close()
    assert tracked_run(run_dir) == before and set(all_runs(evaluation.tracking_uri)) == {"first", "evaluation"}


def test_a_training_that_began_anew_is_noted_anew(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    for name in ("crashed before its first epoch", "second"):
        tracker = FPTTracker(tmp_path / "run", run_name=name, tracking_uri=uri)
        tracker.start()
        tracker.close()
    assert tracked_run(tmp_path / "run").run_name == "second"  # type: ignore[union-attr]


def test_a_copied_folder_does_not_write_into_the_original_s_run(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "copy")
    uri = f"sqlite:///{run_dir}/mlflow.db"
    copy = FPTTracker(tmp_path / "copy", run_name="copy", tracking_uri=uri, resume=True)
    with pytest.warns(RuntimeWarning, match="in a new MLflow run: .* came from another folder"):
        copy.start()
    copy.close()
    assert set(all_runs(uri)) == {"first", "copy"} and all_runs(uri)["first"].info.status == "FAILED"
    assert tracked_run(tmp_path / "copy").run_name == "copy"  # type: ignore[union-attr]


def test_a_moved_folder_goes_on_with_its_run(run_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    os.rename(run_dir, moved)
    resumed = FPTTracker(moved, resume=True)
    resumed.close()
    resumed = FPTTracker(moved, resume=True)
    resumed.start()
    resumed.close()
    assert {n: r.info.status for n, r in all_runs(f"sqlite:///{moved}/mlflow.db").items()} == {"first": "FINISHED"}


def test_a_run_that_is_being_written_is_not_joined(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    live = FPTTracker(tmp_path / "run", run_name="live", tracking_uri=uri)
    live.start()
    second = FPTTracker(tmp_path / "run", run_name="second", tracking_uri=uri, resume=True)
    with pytest.warns(RuntimeWarning, match=r"in a new MLflow run: process \d+ on .* is still writing"):
        second.log_metrics({"loss": 1.0})
    second.close()
    live.close()
    assert "loss" not in all_runs(uri)["live"].data.metrics and all_runs(uri)["live"].info.status == "FINISHED"
    assert all_runs(uri)["second"].data.metrics["loss"] == 1.0


def test_a_run_that_the_store_knows_to_be_live_elsewhere_is_not_joined(run_dir: Path) -> None:
    uri = f"sqlite:///{run_dir}/mlflow.db"
    first = all_runs(uri)["first"]
    client = MlflowClient(uri)
    client.update_run(first.info.run_id, status="RUNNING")
    beat = heartbeat() | {"space": "another machine", "host": "elsewhere"}
    client.set_tag(first.info.run_id, HEARTBEAT, json.dumps(beat))
    resumed = FPTTracker(run_dir, resume=True)
    with pytest.warns(RuntimeWarning, match="in a new MLflow run: process .* on elsewhere"):
        resumed.log_metrics({"loss": 1.0}, 2)
    resumed.close()
    assert resumed.run_id != first.info.run_id and steps(uri, first.info.run_id) == [1]
    assert client.get_run(first.info.run_id).info.status == "RUNNING"
    assert client.get_run(resumed.run_id).info.status == "FINISHED"
    assert tracked_run(run_dir).run_id == resumed.run_id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda note: note.unlink(), "there is no mlflow_run.json", id="missing"),
        pytest.param(lambda note: note.write_text("{"), "mlflow_run.json is damaged", id="damaged"),
    ],
)
def test_why_a_resumed_training_has_a_new_run_is_said(run_dir: Path, damage: object, reason: str) -> None:
    damage(run_dir / RUN_FILE)  # type: ignore[operator]
    resumed = FPTTracker(run_dir, run_name="new", resume=True)
    with pytest.warns(RuntimeWarning, match=f"in a new MLflow run: {reason}"):
        resumed.start()
    resumed.close()
    assert tracked_run(run_dir).run_name == "new"  # type: ignore[union-attr]


def test_another_store_makes_another_run(run_dir: Path, tmp_path: Path) -> None:
    resumed = FPTTracker(run_dir, tracking_uri=fresh_store(tmp_path / "other"), resume=True, run_name="new")
    with pytest.warns(RuntimeWarning, match="in a new MLflow run: the run is in another store"):
        resumed.start()
    resumed.close()


def test_a_first_start_with_resume_is_no_news(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    tracker = FPTTracker(tmp_path / "run", tracking_uri=fresh_store(tmp_path), resume=True)
    tracker.start()
    tracker.close()
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_a_store_that_forgot_the_run_gets_it_again(run_dir: Path) -> None:
    uri = fresh_store(run_dir)  # as if the database had been replaced
    resumed = FPTTracker(run_dir, resume=True)
    resumed.log_metrics({"loss": 1.0}, 2)
    resumed.close()
    assert all_runs(uri)["first"].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://server:5000", "http://server:5000"),
        ("http://anna:pass:word@server/x", "http://***@server/x"),
        ("postgresql://anna:p%40ss@db:5432/mlflow", "postgresql://anna:***@db:5432/mlflow"),
        ("sqlite:////a/b/mlflow.db?timeout=3", "sqlite:////a/b/mlflow.db?timeout=3"),
        ("sqlite:///{run}/sub/mlflow.db", "sqlite:///{run_dir}/sub/mlflow.db"),
    ],
)
def test_how_an_address_is_written_down(uri: str, told: str, tmp_path: Path) -> None:
    uri = uri.replace("{run}", tmp_path.resolve().as_posix())
    assert stored_uri(uri, tmp_path) == told
    assert expanded_uri(told, tmp_path) == (uri if "***" not in told else told)


def test_a_relative_database_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert stored_uri("sqlite:///mlflow.db", tmp_path / "run") == f"sqlite:///{tmp_path.resolve()}/here/mlflow.db"


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    spool = RunSpool(tmp_path / "spool", {"key": "a"})
    for step in range(3):
        spool.append("metrics", {"values": {"loss": 1.0}, "step": step})
    spool.done(spool.first(1))
    journal = tmp_path / "spool" / "records.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    again = RunSpool(tmp_path / "spool")
    assert [record.data["step"] for record in again.first(100)] == [1]
    again.append("metrics", {"values": {"loss": 1.0}, "step": 9})
    assert [record.data["step"] for record in RunSpool(tmp_path / "spool").first(100)] == [1, 9]
