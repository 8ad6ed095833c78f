"""Processes that can talk share evenly what an interrupted run left; and they wait until they see each other's images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from feature_toys import Toy, in_process, load_toy, make_items, same_content

from monai_fpt.features import FeatureStore, ensure_features
from monai_fpt.features import prepare as prepare_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


def test_the_share_of_a_process_that_died_is_dealt_out_among_all(toy: Toy, tmp_path: Path) -> None:
    many = make_items(tmp_path / "images", [f"p{i:02}/scan.raw" for i in range(24)])
    toy.extract(many, toy.store(), rank=0, world_size=2)  # the other read nothing

    def work(rank: int) -> None:
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        ensure_features([many], toy.store(), toy.backbone, load_toy, batch_size=2)

    workers = [
        in_process(lambda rank=rank: work(rank), {"RANK": str(rank), "WORLD_SIZE": "2"})  # type: ignore[misc]
        for rank in range(2)
    ]
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0]
    store = toy.store()
    counts = [journal.read_bytes().count(b"\n") for journal in sorted((store.path / "parts").glob("*.jsonl"))]
    assert sorted(counts) == [6, 6, 12]
    assert store.verify() == []
    toy.extract(many, toy.store("alone"))
    assert same_content(store, toy.store("alone"), many)


def test_images_that_others_finished_are_waited_for(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system, where a folder may be listed as it was before."""
    reader = toy.store()
    toy.extract(items, toy.store())
    stale, listed = [[], [], []], FeatureStore._journals
    monkeypatch.setattr(FeatureStore, "_journals", lambda store: stale.pop() if stale else listed(store))
    monkeypatch.setattr(prepare_module.time, "sleep", lambda seconds: None)

    prepare_module._see_all(reader, {item["key"] for item in items})

    assert len(reader) == 6


def test_images_that_never_come_are_not_waited_for_without_end(toy: Toy, items: list[dict[str, Any]]) -> None:
    reader = toy.store()

    prepare_module._see_all(reader, {"nothing"}, seconds=0.0)

    assert len(reader) == 0
