"""A data list is checked when made, named by its content, and saved without absolute paths."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import data_item


def make_list(root: Path, **changes: Any) -> FPTDataList:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    fields: dict[str, Any] = {
        "classes": ("a", "b"),
        "training": [data_item(root, root / "a/1.png", 0, "p1"), data_item(root, root / "b/1.png", 1, "p2")],
        "validation": [],
        "test": [data_item(root, root / "b/2.png", 1)],
    }
    return FPTDataList(**(fields | changes))


def test_counts_summary_and_sections(tmp_path: Path) -> None:
    made = make_list(tmp_path)
    assert made.class_counts("training") == [1, 1] and made.class_counts("test") == [0, 1]
    lines = [line.split() for line in made.summary().splitlines()]
    assert lines == [
        ["class", "training", "validation", "test"],
        ["a", "1", "0", "0"],
        ["b", "1", "0", "1"],
        ["images", "2", "0", "1"],
        ["groups", "2", "0", "0"],
    ]
    with pytest.raises(ValueError, match="no section 'val'"):
        made.section("val")


def test_it_moves_to_another_root_with_the_same_digest(tmp_path: Path) -> None:
    made, moved = make_list(tmp_path / "here"), make_list(tmp_path / "there")
    made.save(tmp_path / "lists" / "list.json")
    text = (tmp_path / "lists" / "list.json").read_text()
    assert str(tmp_path) not in text and os.listdir(tmp_path / "lists") == ["list.json"]
    loaded = FPTDataList.load(tmp_path / "lists" / "list.json", tmp_path / "there")
    assert loaded == moved and loaded.digest == made.digest


def test_digest_follows_the_content_and_not_the_order(tmp_path: Path) -> None:
    made = make_list(tmp_path)
    assert dataclasses.replace(made, training=made.training[::-1]).digest == made.digest
    assert dataclasses.replace(made, validation=made.test, test=[]).digest != made.digest
    assert dataclasses.replace(made, classes=("b", "a")).digest != made.digest
    assert (
        dataclasses.replace(made, training=[{**made.training[0], "group": "p9"}, made.training[1]]).digest
        != made.digest
    )


def test_several_labels_are_counted_each(tmp_path: Path) -> None:
    items = [data_item(tmp_path, tmp_path / "1.png", [1.0, 1.0]), data_item(tmp_path, tmp_path / "2.png", [0.0, 1.0])]
    made = FPTDataList(("a", "b"), items, [], [], task="multilabel")
    assert made.class_counts("training") == [1, 2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "regression"}, "task is 'regression'"),
        ({"classes": ("a", "a")}, "occurs twice"),
        ({"classes": ("a",)}, "label 1 of image 'b/1.png' does not fit"),
        ({"task": "multilabel"}, "label 0 of image 'a/1.png' does not fit"),
        ({"test": [{"image": "/x/a/1.png", "key": "a/1.png", "label": 0}]}, "image 'a/1.png' occurs twice"),
        ({"test": [{"image": "/x/c.png", "key": "c.png"}]}, "label None"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_list(tmp_path, **changes)


def test_loading_refuses_what_is_not_the_saved_list(tmp_path: Path) -> None:
    made, path = make_list(tmp_path), tmp_path / "list.json"
    with pytest.raises(FileNotFoundError, match="no file"):
        FPTDataList.load(path, tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        FPTDataList.load(path, tmp_path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"was not written by FPTDataList\.save"):
        FPTDataList.load(path, tmp_path)
    made.save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"version": 99}))
    with pytest.raises(ValueError, match="newer than 1; update"):
        FPTDataList.load(path, tmp_path)
    content["training"][0]["label"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not fit its own digest"):
        FPTDataList.load(path, tmp_path)
    made.save(path)
    with pytest.raises(FileNotFoundError, match=r"3 image file\(s\) .* are missing"):
        FPTDataList.load(path, tmp_path / "elsewhere")
