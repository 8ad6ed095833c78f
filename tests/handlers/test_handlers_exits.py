"""However a process ends, its run says how: real processes, real signals, one table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from monai_fpt.handlers import FPTTracker
from monai_fpt.handlers._exits import ExitWatch

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
import monai.engines, monai.handlers
from monai_fpt.handlers import FPTTracker

folder, together, cases = Path(sys.argv[1]), sys.argv[2] == "together", json.loads(sys.argv[3])
codes, children = {}, {}
for case in cases:
    child = os.fork()
    if child == 0:
        break  # the child goes on below, at the top level of an interpreter of its own
    children[case["name"]] = child
    if together:
        continue
    while case["sent"] and not (folder / case["name"]).exists():
        time.sleep(0.05)
    if case["sent"]:
        time.sleep(0.3)
        os.kill(child, case["sent"])
    codes[case["name"]] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
else:
    for name in set(children) - set(codes):
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(children[name], 0)[1])
    (folder / "codes.json").write_text(json.dumps(codes))
    os._exit(0)

exec(case["before"])
tracker = FPTTracker(folder / "store", run_name=case["name"])
tracker.log_metrics({"loss": 1.0}, 1)
(folder / case["name"]).touch()
exec(case["after"])
"""


WAIT = "time.sleep(120)"
WRITE = "while True: tracker.log_metrics({'loss': 1.0}, 2)"
WORKER = """
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    os.write(tell, b"x")
    time.sleep(60)
    os._exit(1)
os.read(ready, 1)  # Python drops a signal that arrives while it still sets up the child
os.kill(child, signal.SIGTERM)
os.waitpid(child, 0)
tracker.close()
"""
IN_ENGINE = """
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import StatsHandler
from monai_fpt.handlers import FPTTrackingHandler
net = torch.nn.Linear(2, 2)
trainer = SupervisedTrainer(
    torch.device("cpu"), 1000, [{"image": torch.ones(4, 2), "label": torch.zeros(4, dtype=torch.long)}] * 20, net,
    torch.optim.SGD(net.parameters(), lr=0.1), torch.nn.CrossEntropyLoss(),
    train_handlers=[StatsHandler(output_transform=lambda o: None), FPTTrackingHandler(tracker)],
)
trainer.run()
"""


@dataclass(frozen=True)
class Case:
    """What a process does after (or before) its first record, which signal it gets, and how that must end."""

    name: str
    after: str
    status: str
    code: int
    sent: int | None = None
    before: str = ""
    error: str | None = None


CASES = [
    Case("closed", "tracker.close()", "FINISHED", 0),
    Case("forgotten", "", "FAILED", 0),
    Case("exception", "raise ValueError('no /data/x.png')", "FAILED", 1, error="ValueError: no <path>"),
    Case("exit-0", "sys.exit(0)", "FAILED", 0),
    Case("exit-3", "sys.exit(3)", "FAILED", 3),
    Case("sigint", WAIT, "KILLED", -signal.SIGINT, signal.SIGINT),
    Case("sigterm", WAIT, "KILLED", 143, signal.SIGTERM),
    Case("sighup", WAIT, "KILLED", 129, signal.SIGHUP),
    Case("sigterm-while-writing", WRITE, "KILLED", 143, signal.SIGTERM),
    Case("sigint-while-writing", WRITE, "KILLED", -signal.SIGINT, signal.SIGINT),
    Case("sigterm-in-engine", IN_ENGINE, "KILLED", 143, signal.SIGTERM),
    Case("sigint-in-engine", IN_ENGINE, "KILLED", -signal.SIGINT, signal.SIGINT),
    Case(
        "sigterm-with-handler-before",
        WAIT,
        "KILLED",
        7,
        signal.SIGTERM,
        before="signal.signal(signal.SIGTERM, lambda *_: os._exit(7))",
    ),
    Case("worker-terminated", WORKER, "FINISHED", 0),
]


def ended(folder: Path, cases: list[Case], together: bool = False) -> dict[str, tuple[int, str, str | None]]:
    """Exit code, status and error tag of every case.

    Each is a process of its own, forked from one that has done the imports (they take longer than all cases together).
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    plan = json.dumps([asdict(case) for case in cases])
    command = [sys.executable, "-c", PROGRAM, str(folder), "together" if together else "in turn", plan]
    subprocess.run(
        command,
        env=environment,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=400,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup leaves it ignored
    )
    codes = json.loads((folder / "codes.json").read_text())
    client = MlflowClient(f"sqlite:///{folder / 'store'}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("monai_fpt").experiment_id])
    assert len(runs) == len(cases)
    assert all(run.data.metrics["loss"] == 1.0 for run in runs if "engine" not in run.info.run_name)
    return {r.info.run_name: (codes[r.info.run_name], r.info.status, r.data.tags.get("error")) for r in runs}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str | None]]:
    return ended(tmp_path_factory.mktemp("exits"), CASES)


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_status_tells_how_a_process_ended(case: Case, table: dict[str, tuple[int, str, str | None]]) -> None:
    code, status, error = table[case.name]
    assert (status, code) == (case.status, case.code)
    assert case.error is None or error == case.error


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_processes_may_open_a_fresh_store_together(tmp_path: Path) -> None:
    cases = [Case(name, "tracker.close()", "FINISHED", 0) for name in ("one", "two", "three")]
    assert ended(tmp_path, cases, together=True) == {case.name: (0, "FINISHED", None) for case in cases}


def test_closing_puts_back_what_was_installed(tmp_path: Path) -> None:
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup leaves it ignored, and then it stays so
    numbers = (signal.SIGTERM, signal.SIGHUP)
    hook, handlers = sys.excepthook, [signal.getsignal(number) for number in numbers]
    watch = ExitWatch(lambda *_: None, lambda: False)
    watch.install()
    assert sys.excepthook is not hook
    assert all(signal.getsignal(number) is not handler for number, handler in zip(numbers, handlers, strict=True))
    watch.remove()
    assert sys.excepthook is hook and [signal.getsignal(number) for number in numbers] == handlers
    signal.signal(signal.SIGHUP, inherited)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    watch = ExitWatch(lambda *_: None, lambda: False)
    watch.install()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    watch.remove()
    signal.signal(signal.SIGHUP, before)


def test_watches_end_in_any_order() -> None:
    hook, handler, told = sys.excepthook, signal.getsignal(signal.SIGTERM), []
    one = ExitWatch(lambda *_: told.append("one"), lambda: False)
    two = ExitWatch(lambda *_: told.append("two"), lambda: False)
    one.install()
    two.install()
    one.remove()
    with pytest.raises(SystemExit, match="143"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    two.remove()
    assert told == ["two"]
    sys.excepthook = hook
    signal.signal(signal.SIGTERM, handler)


def test_building_a_tracker_watches_nothing(tmp_path: Path) -> None:
    hook, handler = sys.excepthook, signal.getsignal(signal.SIGTERM)
    FPTTracker(tmp_path)
    assert sys.excepthook is hook and signal.getsignal(signal.SIGTERM) is handler
