"""What is recorded is in the store, in one run of its own, and a store that fails never stops a training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from monai.handlers import MLFlowHandler, StatsHandler
from toy_training import Toy
from tracking_stores import fresh_store

from monai_fpt.handlers import FPTTracker, FPTTrackingHandler
from monai_fpt.handlers._records import clean_keys, error_line, flat_params

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this file, for a fresh one takes seconds; the name is not a simple one."""
    folder = tmp_path_factory.mktemp("runs") / "größe 512"
    fresh_store(folder)
    return folder


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(run_dir: Path) -> Iterator[FPTTracker]:
    tracker = FPTTracker(run_dir, seed=3, params={"lr": 0.1, "model": {"depth": 6}}, tags={"site": "here"})
    yield tracker
    tracker.close("FAILED")


def recorded(tracker: FPTTracker) -> Any:
    assert tracker.run_id is not None
    return MlflowClient(tracker.tracking_uri).get_run(tracker.run_id)


def history(tracker: FPTTracker, name: str) -> dict[int, float]:
    found = MlflowClient(tracker.tracking_uri).get_metric_history(tracker.run_id, name)
    return {metric.step: metric.value for metric in found}


def artifacts(run_dir: Path, tracker: FPTTracker) -> dict[str, Path]:
    folder = next((run_dir / "mlartifacts").glob(f"**/{tracker.run_id}/artifacts"))
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def test_everything_recorded_is_found_again(tracker: FPTTracker, run_dir: Path, tmp_path: Path) -> None:
    tracker.log_params({"long": "x" * 9000, "odd (key) @ 1": [1, 2], "odd [key] @ 1": None})
    tracker.log_metrics({"auc": torch.tensor(0.5), "sensitivity@90%": 0.25, "nothing": math.nan}, step=1)
    tracker.log_metrics({"auc": 0.75}, step=2)
    tracker.set_tags({"note": "two lines\nhere"})
    (tmp_path / "table.csv").write_text("a,b\n")
    tracker.log_artifact(tmp_path / "table.csv", "tables")
    tracker.log_dict({"a": 1}, "config.json")
    tracker.close()
    tracker.log_metrics({"late": 1.0})

    run = recorded(tracker)
    assert run.info.status == "FINISHED" and run.info.run_name == tracker.run_name
    params = run.data.params
    assert params["seed"] == "3" and params["lr"] == "0.1" and params["model.depth"] == "6"
    assert len(params["long"]) == 6000 and params["long"].endswith("[cut, 9000 characters]")
    assert params["odd _key_ _ 1"] == "[1, 2]" and params["odd _key_ _ 1_2"] == "None"
    assert history(tracker, "auc") == {1: 0.5, 2: 0.75}
    assert run.data.metrics["sensitivity_90_"] == 0.25 and math.isnan(run.data.metrics["nothing"])
    assert "late" not in run.data.metrics
    assert run.data.tags["note"] == "two lines\nhere" and run.data.tags["site"] == "here"
    assert {"version.torch", "version.monai", "version.mlflow", "version.python"} <= run.data.tags.keys()
    found = artifacts(run_dir, tracker)
    assert found.keys() == {"tables/table.csv", "config.json"}
    known = [*params.values(), *run.data.tags.values(), *(path.read_text() for path in found.values())]
    assert not [text for text in known if str(run_dir.parent) in text or str(Path.home()) + "/" in text]


def test_two_runs_at_once_do_not_mix(run_dir: Path) -> None:
    one, two = FPTTracker(run_dir, run_name="same"), FPTTracker(run_dir, run_name="same")
    for step in range(3):
        one.log_metrics({"loss": 1.0}, step)
        two.log_metrics({"loss": 2.0}, step)
    one.close()
    three = FPTTracker(run_dir, run_name="same")  # "two" is still RUNNING and must not be taken up
    three.log_metrics({"loss": 3.0})
    two.close("KILLED")
    three.close()
    assert len({one.run_id, two.run_id, three.run_id}) == 3
    assert [set(history(t, "loss").values()) for t in (one, two, three)] == [{1.0}, {2.0}, {3.0}]
    assert [recorded(t).info.status for t in (one, two, three)] == ["FINISHED", "KILLED", "FINISHED"]


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (RuntimeError("no file '/data/patient 7/a.png' here\nmore"), "FAILED", "RuntimeError: no file <path> here"),
        (KeyboardInterrupt(), "KILLED", None),
        (SystemExit(3), "FAILED", "SystemExit: 3"),
    ],
)
def test_an_exception_decides_the_status(run_dir: Path, error: BaseException, status: str, tag: str | None) -> None:
    tracker = FPTTracker(run_dir)
    tracker.start()
    tracker.fail(error)
    tracker.close()  # too late to be FINISHED
    assert recorded(tracker).info.status == status
    assert recorded(tracker).data.tags.get("error") == tag


def test_a_parameter_keeps_its_first_value(tracker: FPTTracker) -> None:
    tracker.log_params({"fold": 1, "same": 1})
    with pytest.warns(UserWarning, match="fold were recorded before"):
        tracker.log_params({"fold": 2, "same": 1, "new": 1})
    assert recorded(tracker).data.params["fold"] == "1" and recorded(tracker).data.params["new"] == "1"


def test_a_metric_that_is_no_number_is_left_out(tracker: FPTTracker) -> None:
    with pytest.warns(RuntimeWarning, match="'each' is no number but a Tensor"):
        tracker.log_metrics({"each": torch.ones(2), "one": 1.0})
    assert recorded(tracker).data.metrics == {"one": 1.0}


def test_an_outage_in_the_middle_is_told_once_and_survived(
    tracker: FPTTracker, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    tracker.log_metrics({"loss": 1.0}, 1)

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk full on /mnt/db")

    with monkeypatch.context() as outage:
        assert tracker._session is not None
        outage.setattr(tracker._session.sender.client, "log_batch", broken)
        for step in (2, 3, 4):
            tracker.log_metrics({"loss": 1.0}, step)
        assert list(history(tracker, "loss")) == [1]
    tracker.log_metrics({"loss": 1.0}, 5)
    assert list(history(tracker, "loss")) == [1]  # a store that failed is left alone for a while
    assert tracker.flush()
    assert list(history(tracker, "loss")) == [1, 2, 3, 4, 5]
    tracker.close()
    assert recorded(tracker).info.status == "FINISHED"
    told = [str(w.message) for w in recwarn if issubclass(w.category, RuntimeWarning)]
    assert told == [
        "MLflow does not take the record of the run now (OSError: disk full on <path>); the training goes on, and the "
        "record waits in mlflow_spool."
    ]


def test_an_unreachable_server_does_not_hold_up_a_training(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    tracker = FPTTracker(tmp_path, tracking_uri=NOWHERE)
    run = toy(tmp_path / "run", epochs=2, extra=[FPTTrackingHandler(tracker)])
    began = time.monotonic()
    with pytest.warns(RuntimeWarning, match=r"does not take the record .* the training goes on"):
        run.trainer.run()
        tracker.close()
    assert len(run.seen) == 8
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("rank", ["0", "1"])
def test_nothing_happens_on_other_ranks_or_when_disabled(
    tmp_path: Path, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    tracker = FPTTracker(tmp_path / "run", enabled=rank == "1")
    tracker.log_metrics({"loss": 1.0})
    tracker.close()
    assert tracker.run_id is None and not (tmp_path / "run").exists()


def test_which_store_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FPTTracker(tmp_path).tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert FPTTracker(tmp_path).tracking_uri == "http://server"
    assert FPTTracker(tmp_path, tracking_uri="http://other").tracking_uri == "http://other"
    for folder in ("./mlruns", f"file://{tmp_path}"):
        with pytest.raises(ValueError, match="keeps no runs in folders"):
            FPTTracker(tmp_path, tracking_uri=folder)
    assert not list(tmp_path.iterdir())


def test_a_wrong_status_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="FINISHED, FAILED, KILLED but is 'DONE'"):
        FPTTracker(tmp_path).close("DONE")


def test_training_validation_and_test_are_one_run(
    tracker: FPTTracker, run_dir: Path, tmp_path: Path, toy: Callable[..., Toy]
) -> None:
    run = toy(tmp_path, epochs=3, extra=[FPTTrackingHandler(tracker)])
    FPTTrackingHandler(tracker, role="val").attach(run.evaluator)
    run.trainer.run()
    test = toy(tmp_path / "test").evaluator
    FPTTrackingHandler(tracker, role="test", classes=["healthy", "ill"]).attach(test)
    test.run(global_epoch=3)
    tracker.close()

    assert history(tracker, "train_loss") == pytest.approx(
        {epoch: sum(run.seen[4 * epoch - 4 : 4 * epoch]) / 4 for epoch in (1, 2, 3)}
    )
    rates = history(tracker, "lr")
    assert rates[1] == pytest.approx(0.05) and rates[1] > rates[2] > rates[3]
    assert history(tracker, "val_auc").keys() == {1, 2, 3}
    assert history(tracker, "test_auc").keys() == {3}
    metrics = recorded(tracker).data.metrics
    assert metrics["peak_rss_mb"] > 50 and metrics["epoch_seconds"] > 0 and metrics["val_seconds"] > 0
    assert recorded(tracker).data.params["max_epochs"] == "3"
    assert recorded(tracker).data.tags["device"] == "cpu"
    figures = artifacts(run_dir, tracker)
    assert figures.keys() == {"figures/test_confusion.png", "figures/test_roc.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.values())


def test_a_training_that_fails_is_recorded_as_failed(
    tracker: FPTTracker, tmp_path: Path, toy: Callable[..., Toy]
) -> None:
    def explode(_: int) -> float:
        raise FloatingPointError("loss is gone")

    run = toy(tmp_path, metric=explode, extra=[FPTTrackingHandler(tracker), StatsHandler()])
    with pytest.raises(FloatingPointError, match="loss is gone"):
        run.trainer.run()
    assert recorded(tracker).info.status == "FAILED"
    assert recorded(tracker).data.tags["error"] == "FloatingPointError: loss is gone"


def test_the_stock_handler_of_monai_runs_beside(tracker: FPTTracker, tmp_path: Path, toy: Callable[..., Toy]) -> None:
    stock = MLFlowHandler(tracking_uri=tracker.tracking_uri, output_transform=lambda output: output[0]["loss"])
    run = toy(tmp_path, epochs=2, extra=[FPTTrackingHandler(tracker), stock])
    run.trainer.run()
    tracker.close()
    client = MlflowClient(tracker.tracking_uri)
    (theirs,) = client.search_runs([client.get_experiment_by_name("monai_experiment").experiment_id])
    assert theirs.info.run_id != tracker.run_id and "Loss" in theirs.data.metrics
    assert "Loss" not in recorded(tracker).data.metrics and "train_loss" in recorded(tracker).data.metrics


def test_a_deleted_experiment_is_said_in_one_sentence(run_dir: Path) -> None:
    first = FPTTracker(run_dir, experiment="gone")
    first.start()
    first.close()
    client = MlflowClient(first.tracking_uri)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    second = FPTTracker(run_dir, experiment="gone")
    with pytest.warns(RuntimeWarning, match="'gone' is deleted: restore it or name another one"):
        second.start()
        second.close()


@pytest.mark.parametrize(
    ("key", "cleaned"),
    [
        ("val/auc", "val/auc"),
        ("a(b)%c@d", "a_b__c_d"),
        ("//a/../b/./", "a/b"),
        ("größe", "größe"),
        ("", "_"),
        ("..", "_"),
    ],
)
def test_keys_are_cleaned(key: str, cleaned: str) -> None:
    assert list(clean_keys({key: 1})) == [cleaned]


def test_long_keys_stay_apart() -> None:
    keys = list(clean_keys({"x" * 300 + "a": 1, "x" * 300 + "b": 2}))
    assert len(set(keys)) == 2 and max(map(len, keys)) <= 250


def test_parameters_become_flat() -> None:
    nested = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}, "g": True}
    assert flat_params(nested) == {"a.b.c": "1", "a.d": '[1, {"e": 2}]', "f": "{}", "g": "True"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("cannot read C:\\data\\x.png now"), "ValueError: cannot read <path> now"),
        (FileNotFoundError(2, "No such file", "/a/b c.png"), "FileNotFoundError: [Errno 2] No such file: <path>"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 900), "ValueError: " + "x" * 288),
    ],
)
def test_error_lines_have_no_paths(error: Exception, line: str) -> None:
    assert error_line(error) == line


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train, val, test but is 'validate'"):
        FPTTrackingHandler(FPTTracker(tmp_path), role="validate")
