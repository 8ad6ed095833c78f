"""Kill it, stop it, start it again: what was finished stays, nothing half-finished is ever read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_toys import SlowLoad, Toy, in_process, make_items, run_and_signal, same_content

from monai_fpt.features import FeatureStore, extract
from monai_fpt.features import store as store_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and POSIX signals")


@pytest.fixture
def many(tmp_path: Path) -> list[dict[str, Any]]:
    return make_items(tmp_path / "images", [f"p{i:02}/scan.raw" for i in range(24)])


@pytest.mark.parametrize("after", [1, 7, 15], ids="after {} images".format)
@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_an_interrupted_extraction_goes_on_where_it_was(
    which: signal.Signals, after: int, toy: Toy, many: list[dict[str, Any]]
) -> None:
    path = toy.folder / "cache"
    code = run_and_signal(lambda: toy.extract(many, toy.store(), load=SlowLoad(0.01), batch_size=3), path, which, after)
    assert code == -signal.SIGKILL if which == signal.SIGKILL else code not in (0, None)

    assert [finding for finding in FeatureStore(path, strict=False).verify() if "unfinished line" not in finding] == []
    done = len(toy.store())
    assert after <= done < len(many)

    read: list[str] = []

    def counting(item: Any) -> torch.Tensor:
        read.append(item["key"])
        return SlowLoad(0)(item)

    report = toy.extract(many, toy.store(), load=counting)
    assert (report.extracted, report.reused) == (len(many) - done, done) == (len(read), done)

    whole = toy.store("uninterrupted")
    toy.extract(many, whole)
    assert toy.store().verify() == []
    assert same_content(toy.store(), whole, many)


def test_killed_again_and_again_it_still_arrives(toy: Toy, many: list[dict[str, Any]]) -> None:
    path = toy.folder / "cache"
    for after in (4, 8, 12, 16):
        run_and_signal(
            lambda: toy.extract(many, toy.store(), load=SlowLoad(0.01), batch_size=1), path, signal.SIGKILL, after
        )

    toy.extract(many, toy.store())

    assert toy.store().verify() == []
    assert len(toy.store()) == len(many)
    assert [entry.key for entry in toy.store()] == sorted(entry.key for entry in toy.store())


class After:
    """Stands in for a function and raises once, after a number of calls."""

    def __init__(self, function: Callable[..., Any], calls: int, error: BaseException) -> None:
        self.function, self.calls, self.error = function, calls, error

    def __call__(self, *args: Any) -> Any:
        result = self.function(*args)
        self.calls -= 1
        if self.calls == 0:
            raise self.error
        return result


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5, 6, 7], ids="in write {}".format)
def test_ctrl_c_between_two_writes_never_shifts_records(
    calls: int, toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write_all", After(store_module._write_all, calls, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            toy.extract(items, toy.store(), batch_size=3)

    assert toy.store().verify() == []
    toy.extract(items, toy.store())
    whole = toy.store("uninterrupted")
    toy.extract(items, whole)
    assert same_content(toy.store(), whole, items)


@pytest.mark.parametrize("calls", [1, 2, 3, 4], ids="at sync {}".format)
def test_ctrl_c_while_syncing_never_shifts_records(
    calls: int, toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_module.os, "fsync", After(store_module.os.fsync, calls, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            toy.extract(items, toy.store(), batch_size=3)

    assert toy.store().verify() == []
    toy.extract(items, toy.store())
    assert len(toy.store()) == 6


def fill(toy: Toy, items: list[dict[str, Any]], rank: int, world: int) -> None:
    process = in_process(
        lambda: extract(items, toy.store(), toy.backbone, SlowLoad(0.002), batch_size=2, progress=False),
        {"RANK": str(rank), "WORLD_SIZE": str(world)},
    )
    process.join(60)
    assert process.exitcode == 0


def check_union(toy: Toy, items: list[dict[str, Any]]) -> None:
    store, alone = toy.store(), toy.store("alone")
    toy.extract(items, alone)
    assert sorted(entry.key for entry in store) == sorted(item["key"] for item in items)
    assert sum(j.read_bytes().count(b"\n") for j in (toy.folder / "cache" / "parts").glob("*.jsonl")) == len(items)
    assert store.verify() == []
    assert same_content(store, alone, items)


def test_two_ranks_at_once_give_the_union_without_duplicates(toy: Toy, many: list[dict[str, Any]]) -> None:
    workers = [
        in_process(
            lambda: extract(many, toy.store(), toy.backbone, SlowLoad(0.002), batch_size=2, progress=False),
            {"RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in range(2)
    ]
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0]
    check_union(toy, many)


def test_a_rank_that_starts_late_still_takes_its_own_share(toy: Toy, many: list[dict[str, Any]]) -> None:
    for rank in range(2):
        fill(toy, many, rank, 2)

    check_union(toy, many)


def test_ranks_share_what_an_interrupted_run_left(toy: Toy, many: list[dict[str, Any]]) -> None:
    toy.extract(many[5:14], toy.store())

    for rank in range(3):
        fill(toy, many, rank, 3)

    check_union(toy, many)
