"""What a run holds besides numbers: its children, the data by digest, the machine."""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from mlflow import MlflowClient
from tracking_stores import Line, all_runs, fresh_store, lay_line

from monai_fpt.data import FPTDataList
from monai_fpt.handlers import FPTTracker, sync_tracking
from monai_fpt.handlers._provenance import provenance_tags
from monai_fpt.handlers._system import SystemSampler


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return lay_line(monkeypatch)


def item(key: str, label: int, group: str | None = None) -> dict[str, Any]:
    known = {"group": group} if group else {}
    return {"image": f"/hospital/secret folder/{key}", "key": key, "label": label, **known}


DATA = FPTDataList(
    ("healthy", "ill"),
    [item("Anna Alpha/1.png", 0, "Anna Alpha"), item("Anna Alpha/2.png", 1, "Anna Alpha"), item("b.png", 1, "Berta")],
    [item("c.png", 0)],
    [],
)


def tracker_of(folder: Path, **options: Any) -> FPTTracker:
    return FPTTracker(folder / "run", run_name="one", tracking_uri=fresh_store(folder), **options)


def inputs(tracker: FPTTracker) -> dict[str, Any]:
    run = MlflowClient(tracker.tracking_uri).get_run(tracker.run_id)
    return {one.dataset.name: one for one in run.inputs.dataset_inputs}


def test_data_is_recorded_by_digest_and_counts(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path, data=DATA, data_name="derm")
    tracker.start()
    found = inputs(tracker)
    assert found.keys() == {"derm-training", "derm-validation"}
    rows = [["Anna Alpha/1.png", 0, "Anna Alpha"], ["Anna Alpha/2.png", 1, "Anna Alpha"], ["b.png", 1, "Berta"]]
    text = json.dumps(["multiclass", ["healthy", "ill"], rows], separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    training = found["derm-training"]
    assert training.dataset.digest == digest[:32]
    assert {tag.key: tag.value for tag in training.tags} == {"mlflow.data.context": "training"}
    profile = json.loads(training.dataset.profile)
    assert profile == {
        "images": 3,
        "groups": 2,
        "classes": {"healthy": 1, "ill": 2},
        "task": "multiclass",
        "sha256": digest,
        "split_sha256": DATA.digest,
    }
    tags = all_runs(tracker.tracking_uri)["one"].data.tags
    assert tags["data.training.sha256"] == digest and "data.test.sha256" not in tags
    tracker.close()


def test_data_is_recorded_without_names_of_files_and_patients(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path, data=DATA)
    tracker.start()
    tracker.close()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept and not [content for content in kept if b"Anna" in content or b"secret folder" in content]


def test_an_evaluation_records_the_section_that_it_reads(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path, data=DATA, data_sections=["validation"])
    tracker.start()
    assert inputs(tracker).keys() == {"data-validation"}
    tracker.close()


def test_the_data_list_itself_is_recorded_only_when_asked_for(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path)
    tracker.log_data(DATA, keys=True)
    local = MlflowClient(tracker.tracking_uri).download_artifacts(tracker.run_id, "data_list.json")
    text = Path(local).read_text()
    assert json.loads(text)["training"][0]["key"] == "Anna Alpha/1.png" and "secret folder" not in text
    tracker.close()


def test_the_digest_of_a_section_changes_with_one_label_and_not_with_the_order(tmp_path: Path) -> None:
    from monai_fpt.handlers._inputs import section_digest

    first, *rest = DATA.training
    turned = FPTDataList(DATA.classes, [*rest, first], [], [])
    changed = FPTDataList(DATA.classes, [first | {"label": 1}, *rest], [], [])
    assert section_digest(turned, "training") == section_digest(DATA, "training")
    assert section_digest(changed, "training") != section_digest(DATA, "training")


def test_how_the_machine_does_is_recorded_by_mlflow_s_names(tmp_path: Path) -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    tracker = tracker_of(tmp_path)
    tracker.start()
    tracker.close()
    found = all_runs(tracker.tracking_uri)["one"].data.metrics
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        assert {f"system/{name}" for name in monitor.aggregate_metrics()} <= found.keys()
    total = psutil.virtual_memory().total / 1e6
    assert found["system/process_memory_megabytes"] == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.3)
    assert 0 < found["system/system_memory_usage_megabytes"] < total


def test_samples_come_at_intervals_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = tracker_of(tmp_path)
    tracker.start()
    client = MlflowClient(tracker.tracking_uri)
    name = "system/cpu_utilization_percentage"
    while len(client.get_metric_history(tracker.run_id, name)) < 3:
        pass
    tracker.close()
    assert tracker._session is not None and not tracker._session._pulse.alive
    history = client.get_metric_history(tracker.run_id, name)
    run = client.get_run(tracker.run_id)
    assert all(run.info.start_time <= one.timestamp <= run.info.end_time for one in history)


def test_only_gpus_in_use_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def memory(index: int) -> tuple[int, int]:
        asked.append(index)
        return 60_000_000, 80_000_000

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 1000 * index)
    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    monkeypatch.setattr(torch.cuda, "utilization", lambda index: 30 + index)
    monkeypatch.setattr(torch.cuda, "power_draw", lambda index: 250_000)
    sample = SystemSampler(tmp_path).sample()
    assert {name: value for name, value in sample.items() if "gpu" in name} == {
        "system/gpu_1_memory_usage_megabytes": 20,
        "system/gpu_1_memory_usage_percentage": 25,
        "system/gpu_1_utilization_percentage": 31,
        "system/gpu_1_power_usage_watts": 250,
    }
    assert asked == [1]


@pytest.mark.parametrize("value", ["", "soon"])
def test_an_odd_interval_is_ten_seconds(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", value)
    assert SystemSampler.interval() == 10


def test_the_machine_is_left_out_on_request(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path, system_metrics=False)
    tracker.start()
    tracker.close()
    assert all_runs(tracker.tracking_uri)["one"].data.metrics == {}


def folds(folder: Path, count: int = 3) -> tuple[FPTTracker, list[FPTTracker]]:
    parent = FPTTracker(
        folder / "run", run_name="all", experiment="validation", tracking_uri=fresh_store(folder), system_metrics=False
    )
    names = [f"fold {number}" for number in range(count)]
    return parent, [FPTTracker(folder / "run" / n, run_name=n, parent=parent, system_metrics=False) for n in names]


def statuses(tracker: FPTTracker) -> dict[str, str]:
    return {name: run.info.status for name, run in all_runs(tracker.tracking_uri).items()}


def test_the_folds_of_a_cross_validation_are_children_of_one_run(tmp_path: Path) -> None:
    parent, children = folds(tmp_path)
    for step, child in enumerate(children):
        child.log_metrics({"auc": step / 10})
        child.close()
    parent.log_metrics({"auc": 0.1})
    parent.close()
    runs = all_runs(parent.tracking_uri)
    assert set(statuses(parent).values()) == {"FINISHED"} and len(runs) == 4
    assert [runs[f"fold {n}"].data.tags["mlflow.parentRunId"] for n in range(3)] == [parent.run_id] * 3
    assert len({run.info.experiment_id for run in runs.values()}) == 1
    assert runs["all"].data.tags["children"] == "3 FINISHED"
    assert all(runs[f"fold {n}"].info.end_time <= runs["all"].info.end_time for n in range(3))


def test_a_parent_of_a_failed_fold_has_not_finished(tmp_path: Path) -> None:
    parent, (first, second, third) = folds(tmp_path)
    first.start()
    first.close()
    second.start()
    second.fail(ValueError("no"))
    parent.close()
    assert statuses(parent) == {"all": "FAILED", "fold 0": "FINISHED", "fold 1": "FAILED"}
    assert all_runs(parent.tracking_uri)["all"].data.tags["children"] == "1 FAILED, 1 FINISHED"
    assert third.run_id is None


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param(lambda t: t.fail(KeyboardInterrupt()), "KILLED", id="Ctrl-C"),
        pytest.param(lambda t: t.fail(ValueError("no")), "FAILED", id="exception"),
        pytest.param(lambda t: t.close(), "FAILED", id="closed too early"),
    ],
)
def test_a_parent_that_ends_takes_its_open_children_with_it(tmp_path: Path, end: Any, expected: str) -> None:
    parent, (child, *_) = folds(tmp_path)
    child.log_metrics({"auc": 0.5})
    end(parent)
    assert statuses(parent) == {"all": expected, "fold 0": expected}


def test_children_of_a_run_that_reached_no_store_find_it_by_the_sync(tmp_path: Path, line: Line) -> None:
    parent, children = folds(tmp_path, 2)
    line.down = True
    with pytest.warns(RuntimeWarning):
        for child in children:
            child.log_metrics({"auc": 0.5})
            child.close()
        parent.close()
    line.down = False
    report = sync_tracking(tmp_path / "run")
    assert report.complete and [run.run_name for run in report.runs] == ["all", "fold 0", "fold 1"]
    runs = all_runs(parent.tracking_uri)
    assert {runs[f"fold {n}"].data.tags["mlflow.parentRunId"] for n in range(2)} == {runs["all"].info.run_id}
    assert set(statuses(parent).values()) == {"FINISHED"}


def test_what_a_fold_could_not_send_is_sent_by_its_parent_s_end(tmp_path: Path, line: Line) -> None:
    parent, (child, *_) = folds(tmp_path)
    parent.start()
    line.down = True
    with pytest.warns(RuntimeWarning):
        child.log_metrics({"auc": 0.5})
        child.close()
    line.down = False
    parent.close()
    assert statuses(parent) == {"all": "FINISHED", "fold 0": "FINISHED"}
    assert not list(tmp_path.rglob("mlflow_spool"))


def test_a_parent_may_be_given_by_its_id(tmp_path: Path) -> None:
    parent, _ = folds(tmp_path)
    parent.start()
    child = FPTTracker(tmp_path / "child", run_name="child", tracking_uri=parent.tracking_uri, parent=parent.run_id)
    child.start()
    child.close()
    parent.close()
    assert all_runs(parent.tracking_uri)["child"].data.tags["mlflow.parentRunId"] == parent.run_id


def test_an_address_with_a_password_is_no_parameter() -> None:
    from monai_fpt.handlers import fpt_tracked_params

    told = fpt_tracked_params({"tracking_uri": "https://ann:geheim@mlflow.site", "seed": 1})
    assert "geheim" not in str(told) and told["seed"] == 1


PROGRAMS = {"file": (None, "/home/ann/train.py", "train.py"), "command": (None, "-c", ""), "shell": (None, "", "")}
MODULES = {
    "module": ("a.train", "x", "a.train"),
    "package": ("monai.bundle.__main__", "/x/__main__.py", "monai.bundle"),
}


@pytest.mark.parametrize(("module", "started", "told"), (PROGRAMS | MODULES).values(), ids=PROGRAMS | MODULES)
def test_the_program_is_told_without_its_folder(
    module: str | None, started: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = None if module is None else importlib.machinery.ModuleSpec(module, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [started])
    assert provenance_tags().get("mlflow.source.name", "") == told
