"""A disk that is full stops no training, is said, and loses nothing that room comes back for."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tracking_stores import all_runs, finished, fresh_store

from monai_fpt.handlers import FPTTracker, sync_tracking

SIZE = 3 * 2**20


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of three megabytes."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave not one byte."""
    stone = disk / "stone"
    with stone.open("ab", buffering=0) as file:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return stone


def tracker_on(disk: Path, store: Path) -> FPTTracker:
    return FPTTracker(disk / "run", run_name="one", tracking_uri=fresh_store(store), seed=3)


def test_a_full_disk_in_the_middle_is_survived_and_caught_up_with(disk: Path) -> None:
    tracker = tracker_on(disk, disk / "run")
    tracker.log_metrics({"loss": 3.0}, 1)
    stone = fill(disk)
    with pytest.warns(RuntimeWarning) as told:
        tracker.log_metrics({"loss": 2.0}, 2)
        tracker.log_dict({"a": 1}, "config.json")
    texts = [str(one.message) for one in told]
    assert any("could not be written to the disk" in text and "No space left" in text for text in texts)
    assert any("does not take the record of the run now" in text for text in texts)
    stone.unlink()
    assert tracker.flush()
    tracker.log_metrics({"loss": 1.0}, 3)
    tracker.close()
    run = all_runs(tracker.tracking_uri)["one"]
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 1.0 and finished(tracker)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(lambda t: t.close(), "FINISHED", id="closed"),
        pytest.param(lambda t: t.fail(OSError(errno.ENOSPC, "No space left on device")), "FAILED", id="failed"),
    ],
)
def test_a_disk_that_stays_full_still_takes_the_end_of_the_run(
    disk: Path, end: Callable[[FPTTracker], None], status: str
) -> None:
    tracker = tracker_on(disk, disk / "run")
    tracker.log_metrics({"loss": 3.0}, 1)
    fill(disk)
    with pytest.warns(RuntimeWarning, match="database or disk is full"):
        tracker.log_metrics({"loss": 2.0}, 2)
        end(tracker)
    run = all_runs(tracker.tracking_uri)["one"]
    assert (run.info.status, run.data.metrics["loss"]) == (status, 2.0)


def test_a_full_disk_does_not_matter_to_a_store_elsewhere(disk: Path, tmp_path: Path) -> None:
    tracker = tracker_on(disk, tmp_path / "store")
    tracker.start()
    fill(disk)
    with pytest.warns(RuntimeWarning, match="could not be written to the disk"):
        tracker.log_metrics({"loss": 2.0}, 2)
        tracker.log_dict({"a": 1}, "config.json")
        tracker.close()
    run = all_runs(tracker.tracking_uri)["one"]
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 2.0 and finished(tracker)


def test_a_disk_that_is_full_from_the_start_does_not_matter_to_a_store_elsewhere(disk: Path, tmp_path: Path) -> None:
    fill(disk)
    tracker = tracker_on(disk, tmp_path / "store")
    with pytest.warns(RuntimeWarning, match="could not be written"):
        tracker.log_metrics({"loss": 2.0}, 2)
        tracker.close()
    run = all_runs(tracker.tracking_uri)["one"]
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 2.0


def test_what_neither_disk_nor_store_takes_is_said_to_be_lost(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = FPTTracker(disk / "run", tracking_uri="http://127.0.0.1:9", system_metrics=False)
    fill(disk)
    with pytest.warns(RuntimeWarning, match=r"3 record\(s\) .* \(3 of them not even on the disk, these are lost\)"):
        tracker.set_tags({"a": 1})
        tracker.log_metrics({"loss": 1.0})
        tracker.close()


LIMITED = """
import resource, signal, sys, warnings
from pathlib import Path
from monai_fpt.handlers import FPTTracker

warnings.simplefilter("ignore")
tracker = FPTTracker(Path(sys.argv[1]), run_name="one", system_metrics=False)
tracker.log_metrics({"loss": 3.0}, 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
tracker.log_metrics({"loss": 2.0}, 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
tracker.log_metrics({"loss": 1.0}, 3)
tracker.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of files")
def test_a_limit_on_files_is_survived_in_the_same_way(tmp_path: Path) -> None:
    fresh_store(tmp_path)
    environment: dict[str, Any] = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], env=environment, check=True, timeout=120)
    assert all_runs(f"sqlite:///{tmp_path}/mlflow.db")["one"].data.metrics["loss"] == 1.0
    assert str(sync_tracking(tmp_path)) == "Nothing waits to be sent."
