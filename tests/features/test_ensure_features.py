"""ensure_features: what training does first with its sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feature_toys import Toy, load_toy

from monai_fpt.features import FeatureDataset, UnreadableImagesError, ensure_features


def test_all_sections_are_in_the_cache_afterwards(toy: Toy, items: list[dict[str, Any]]) -> None:
    store, sections = toy.store(), [items[:4], items[4:]]

    report = ensure_features(sections, store, toy.backbone, load_toy)

    assert report.extracted == 6
    assert [FeatureDataset(section, store)[0]["key"] for section in sections] == ["p0/scan.raw", "p4/scan.raw"]
    assert ensure_features(sections, store, toy.backbone, load_toy).reused == 6


def test_unreadable_images_stop_the_training_after_the_rest_is_done(toy: Toy, items: list[dict[str, Any]]) -> None:
    Path(items[5]["image"]).write_bytes(b"short")
    store, sections = toy.store(), [items[:4], items[4:]]

    with pytest.raises(UnreadableImagesError, match=r"1 images could not be read: p5/scan.raw"):
        ensure_features(sections, store, toy.backbone, load_toy)

    assert len(store) == 5
    assert [len(section) for section in sections] == [4, 2]


def test_unreadable_images_are_left_out_of_the_sections_when_that_is_wanted(
    toy: Toy, items: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 5):
        Path(items[number]["image"]).write_bytes(b"short")
    train, val = items[:4], items[4:]
    store = toy.store()

    report = ensure_features([train, val], store, toy.backbone, load_toy, skip_unreadable=True)

    assert [item["key"] for item in train] == ["p1/scan.raw", "p2/scan.raw", "p3/scan.raw"]
    assert [item["key"] for item in val] == ["p4/scan.raw"]
    assert [key for key, _ in report.failed] == ["p0/scan.raw", "p5/scan.raw"]
    printed = capsys.readouterr().out
    assert "p0/scan.raw: scan.raw has 5 bytes" in printed
    assert "Going on without 2 unreadable images" in printed
    assert len(FeatureDataset(train, store).entries()) == 3


def test_fail_fast_is_passed_on(toy: Toy, items: list[dict[str, Any]]) -> None:
    Path(items[0]["image"]).write_bytes(b"short")
    read: list[str] = []

    def counting(item: Any) -> Any:
        read.append(item["key"])
        return load_toy(item)

    with pytest.raises(UnreadableImagesError):
        ensure_features([items], toy.store(), toy.backbone, counting, fail_fast=True, batch_size=2)

    assert read == ["p0/scan.raw", "p1/scan.raw"]
