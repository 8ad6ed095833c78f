"""The same promises on the stores that people have: MLflow's own server, PostgreSQL, and processes that are really killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tracking_stores import all_runs, finished, fresh_store

from monai_fpt.data import FPTDataList
from monai_fpt.handlers import FPTTracker, sync_tracking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

DATA = FPTDataList(("healthy", "ill"), [{"image": "/a/1.png", "key": "1.png", "label": 1}], [], [])


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A real ``mlflow server``, which may be killed and started again at the same address."""

    def __init__(self, folder: Path, backend: str | None = None) -> None:
        self.folder = folder
        self.backend = backend or fresh_store(folder)
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "files")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", "1"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    server.kill()


def tracker_on(uri: str, folder: Path, name: str, **options: Any) -> FPTTracker:
    return FPTTracker(folder / name, run_name=name, tracking_uri=uri, data=DATA, seed=3, **options)


def test_a_server_that_is_away_at_the_start_in_the_middle_and_at_the_end(server: Server, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        tracker = tracker_on(server.uri, tmp_path, "one")
        tracker.log_metrics({"loss": 5.0}, 1)  # nothing is there yet
        assert tracker.run_id is None
        server.start()
        assert tracker.flush()
        tracker.log_metrics({"loss": 4.0}, 2)
        tracker.log_dict({"a": 1}, "config.json")
        server.kill()
        tracker.log_metrics({"loss": 3.0}, 3)
        tracker.log_dict({"b": 2}, "tables/late.json")
        server.start()
        assert tracker.flush()
        server.kill()
        tracker.log_metrics({"loss": 2.0}, 4)
        tracker.close()
        assert not finished(tracker)
    assert not sync_tracking(tmp_path / "one").complete  # still away
    server.start()
    assert sync_tracking(tmp_path / "one").complete and finished(tracker)

    run = all_runs(server.uri)["one"]
    client = MlflowClient(server.uri)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "3"}
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["data-training"]
    names = [a.path for folder in (None, "tables") for a in client.list_artifacts(run.info.run_id, folder)]
    assert sorted(names) == ["config.json", "tables", "tables/late.json"]
    assert json.loads(Path(client.download_artifacts(run.info.run_id, "config.json")).read_text()) == {"a": 1}


PROGRAM = """
import sys, time, warnings
from pathlib import Path
from monai_fpt.handlers import FPTTracker

warnings.simplefilter("ignore")
uri, folder, name, work = sys.argv[1:]
tracker = FPTTracker(Path(folder), run_name=name, tracking_uri=uri, resume=work == "resume")
tracker.log_metrics({"loss": 1.0}, 1)
(Path(folder) / "ready").touch()
for step in range(100):
    tracker.log_metrics({"count": step}, step)
    time.sleep(0.01)
if work == "wait":
    time.sleep(300)
tracker.close()
"""


def program(uri: str, folder: Path, name: str, work: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, uri, str(folder), name, work], env=environment)


def kill_when_ready(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)  # in the middle of its hundred records
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_killing_and_resuming(uri: str, folder: Path) -> None:
    """Killed with -9, ended by the next start, resumed into the same run; beside it two more at once."""
    kill_when_ready(program(uri, folder / "one", "one", "wait"), folder / "one")
    assert all_runs(uri)["one"].info.status == "RUNNING"
    together = [program(uri, folder / name, name, "go on") for name in ("two", "three")]
    assert [process.wait(timeout=200) for process in together] == [0, 0]
    runs = all_runs(uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "one": "KILLED",
        "two": "FINISHED",
        "three": "FINISHED",
    }
    assert "was gone" in runs["one"].data.tags["stale"]
    client = MlflowClient(uri)
    for name in ("two", "three"):
        history = client.get_metric_history(runs[name].info.run_id, "count")
        assert sorted(m.value for m in history) == list(range(100))

    (folder / "one" / "last.pt").touch()
    assert program(uri, folder / "one", "ignored", "resume").wait(timeout=200) == 0
    run = all_runs(uri)["one"]
    assert run.info.status == "FINISHED" and "stale" not in run.data.tags and len(all_runs(uri)) == 3
    history = client.get_metric_history(run.info.run_id, "count")
    assert {m.value for m in history} == set(range(100)) and len(history) > 100
    assert not list(folder.rglob("mlflow_spool"))


def test_killed_and_resumed_on_sqlite(tmp_path: Path) -> None:
    check_killing_and_resuming(fresh_store(tmp_path), tmp_path)


def test_killed_and_resumed_on_a_server(server: Server, tmp_path: Path) -> None:
    server.start()
    check_killing_and_resuming(server.uri, tmp_path)


def postgres_programs() -> Path | None:
    """Folder of ``initdb`` and ``pg_ctl``: on the path, or where Debian puts them."""
    places = [Path("/usr/lib/postgresql")] if Path("/usr/lib/postgresql").is_dir() else []
    found = [folder for place in places for folder in sorted(place.glob("*/bin")) if (folder / "initdb").is_file()]
    on_path = shutil.which("initdb")
    return found[-1] if found else (Path(on_path).resolve().parent if on_path else None)


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of this test's own."""
    pytest.importorskip("psycopg", reason="needs the package psycopg, as MLflow does to speak with PostgreSQL")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("initdb is not on this machine: apt-get install postgresql")
    user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="postgres", dir="/tmp"))
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        import pwd

        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root and there is no user postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        user = {"user": "postgres", "group": entry.pw_gid, "extra_groups": []}

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / name), *arguments],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=120,
            **user,
        )

    port = free_port()
    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run("initdb", "-D", data, "-U", "anna", "--auth=trust", "--encoding=UTF8", "--locale=C")
    run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "anna", "mlflow")
        yield f"postgresql+psycopg://anna:secret@127.0.0.1:{port}/mlflow"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_killed_and_resumed_on_postgresql(postgres: str, tmp_path: Path) -> None:
    check_killing_and_resuming(postgres, tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"secret@" in path.read_bytes()]
    assert kept == []


def test_a_server_before_postgresql_gets_everything_too(postgres: str, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", backend=postgres)
    server.start()
    try:
        parent = tracker_on(server.uri, tmp_path, "all")
        child = tracker_on("", tmp_path, "fold", parent=parent)
        child.log_metrics({"auc": 0.5, "nothing": float("nan")}, 1)
        child.log_dict({"a": 1}, "config.json")
        child.close()
        parent.close()
        runs = all_runs(server.uri)
        assert {name: run.info.status for name, run in runs.items()} == {"all": "FINISHED", "fold": "FINISHED"}
        assert runs["fold"].data.tags["mlflow.parentRunId"] == runs["all"].info.run_id
        assert [one.dataset.name for one in runs["fold"].inputs.dataset_inputs] == ["data-training"]
        client = MlflowClient(server.uri)
        assert [a.path for a in client.list_artifacts(runs["fold"].info.run_id)] == ["config.json"]
    finally:
        server.kill()


def test_a_sync_that_is_really_killed_goes_on(server: Server, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        tracker = tracker_on(server.uri, tmp_path, "one", system_metrics=False)
        for step in range(300):
            tracker.set_tags({"step": step})  # tags are sent one by one
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.close()
    server.start()
    command = [
        sys.executable,
        "-c",
        "import sys; from monai_fpt.handlers import sync_tracking; sync_tracking(sys.argv[1])",
    ]
    process = subprocess.Popen([*command, str(tmp_path / "one")])
    sent = next((tmp_path / "one" / "mlflow_spool").iterdir()) / "sent"
    deadline = time.monotonic() + 120
    while not sent.exists() or int(sent.read_text() or 0) < 20:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    report = sync_tracking(tmp_path / "one")
    assert report.complete and 0 < report.runs[0].sent < 290
    run = all_runs(server.uri)["one"]
    assert run.data.tags["step"] == "299" and run.info.status == "FINISHED" and run.data.metrics == {"loss": 1.0}


RANKS = """
import sys
from pathlib import Path
import torch.distributed as dist
from monai_fpt.handlers import FPTTracker

tracker = FPTTracker(Path(sys.argv[1]) / "run", run_name="one", tracking_uri=sys.argv[2], resume=True)
tracker.start()  # a bundle makes its tracker before the processes know of each other
dist.init_process_group("gloo")
tracker.log_metrics({"rank": dist.get_rank()}, 1)
dist.barrier()
tracker.close()
(Path(sys.argv[1]) / f"rank {dist.get_rank()}").write_text(str(tracker.run_id))
dist.destroy_process_group()
"""


def test_of_several_ranks_the_first_writes_one_run(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path / "store")
    (tmp_path / "ranks.py").write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | {"OMP_NUM_THREADS": "1"}
    arguments = [str(tmp_path / "ranks.py"), str(tmp_path), uri]
    subprocess.run([*command, *arguments], env=environment, check=True, timeout=280, capture_output=True)
    (run,) = all_runs(uri).values()
    assert run.info.status == "FINISHED" and run.data.metrics["rank"] == 0
    assert [(tmp_path / f"rank {rank}").read_text() for rank in (0, 1)] == [run.info.run_id, "None"]
