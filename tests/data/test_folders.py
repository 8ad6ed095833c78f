"""Folders become data lists whose labels never shift."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_fpt.data import build_data_list, data_list_from_folders, data_list_from_images


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def keys(items: list[dict[str, object]]) -> list[object]:
    return [item["key"] for item in items]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "valid", "testing"), ("train", "validation", "Test")]
)
def test_section_folders_are_obeyed(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name in names:
        touch(tmp_path, f"{name}/b/1.png", f"{name}/a/deep/er/1.jpg", f"{name}/a/.hidden.png", f"{name}/a/notes.txt")
    made = data_list_from_folders(tmp_path)
    assert made.classes == ("a", "b") and made.task == "multiclass"
    for section, name in zip(("training", "validation", "test"), names, strict=True):
        assert keys(made.section(section)) == [f"{name}/a/deep/er/1.jpg", f"{name}/b/1.png"]
        assert [item["label"] for item in made.section(section)] == [0, 1]
    assert made.training[0]["image"] == str(tmp_path / names[0] / "a/deep/er/1.jpg")


def test_an_absent_class_folder_is_an_error_and_shifts_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "val/a/1.png", "val/b/1.png", "val/c/1.png")
    touch(tmp_path, "test/a/1.png", "test/c/1.png")
    with pytest.raises(ValueError, match=r"class folder '.*test/b' has no readable image.*allow_missing_classes=True"):
        data_list_from_folders(tmp_path)
    made = data_list_from_folders(tmp_path, allow_missing_classes=True)
    assert [item["label"] for item in made.test] == [0, 2]
    (tmp_path / "train/b/1.png").unlink()
    with pytest.raises(ValueError, match=r"train/b' has no readable image"):
        data_list_from_folders(tmp_path, allow_missing_classes=True)


def test_class_folders_are_split_stratified_whatever_the_file_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, *(f"{name}/{n}.png" for name in ("2", "10") for n in range(20)))
    made = data_list_from_folders(tmp_path)
    assert made.classes == ("2", "10")
    assert [made.class_counts(s) for s in ("training", "validation", "test")] == [[14, 14], [2, 2], [4, 4]]
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in walk(*a, **k)))
    assert data_list_from_folders(tmp_path) == made
    assert data_list_from_folders(tmp_path, seed=1).digest != made.digest


def test_a_missing_validation_folder_is_dealt_off_the_training_images(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{name}/{n}.png" for name in "ab" for n in range(10)), "test/a/1.png", "test/b/1.png")
    made = data_list_from_folders(tmp_path, val_fraction=0.2)
    assert [made.class_counts(s) for s in ("training", "validation", "test")] == [[8, 8], [2, 2], [1, 1]]
    assert data_list_from_folders(tmp_path, val_fraction=0).validation == []


def test_given_classes_set_the_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{n}.png" for name in "ab" for n in range(5)))
    assert data_list_from_folders(tmp_path, classes=["b", "a"]).classes == ("b", "a")
    with pytest.raises(ValueError, match=r"folder\(s\) \['b'\] .* not in classes"):
        data_list_from_folders(tmp_path, classes=["a", "c"])


def test_unusable_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*none'"):
        data_list_from_folders(tmp_path / "none")
    touch(tmp_path, "a/1.png")
    with pytest.raises(ValueError, match=r"has 1 class folder\(s\) \['a'\], at least two"):
        data_list_from_folders(tmp_path)
    touch(tmp_path / "two", "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(ValueError, match="two folders for validation"):
        data_list_from_folders(tmp_path / "two")
    touch(tmp_path / "untrained", "test/a/1.png", "val/a/1.png")
    with pytest.raises(ValueError, match="none called 'train'"):
        data_list_from_folders(tmp_path / "untrained")


def test_stray_images_are_left_out_with_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{n}.png" for name in "ab" for n in range(5)), "overview.png")
    with pytest.warns(UserWarning, match=r"1 image\(s\) beside the class folders"):
        made = data_list_from_folders(tmp_path)
    assert len(made.training + made.validation + made.test) == 10


def test_images_for_inference_need_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.png", "a/1.png", "a/2.DCM", "table.csv")
    made = data_list_from_images(tmp_path)
    assert keys(made.test) == ["a/1.png", "a/2.DCM", "b/1.png"] and made.classes == ()
    assert "label" not in made.test[0] and made.summary().split() == [
        "class", "training", "validation", "test", "images", "0", "0", "3",
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty' holds no image"):
        data_list_from_images(tmp_path / "empty")


def test_the_front_door_takes_folders_tables_and_saved_lists(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", *(f"images/{n}.png" for n in range(20)))
    rows = "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(20))
    (root / "labels.csv").write_text("image,label\n" + rows)
    made = build_data_list(root)
    assert made.classes == ("a", "b") and made.training[0]["key"].startswith("images/")
    (tmp_path / "other.csv").write_text("image,label\n" + rows)
    assert build_data_list(root, tmp_path / "other.csv") == made
    assert build_data_list(data_list=root / "labels.csv") == made
    made.save(tmp_path / "list.json")
    assert build_data_list(root, tmp_path / "list.json") == made
    with pytest.raises(ValueError, match="neither dataset_dir nor data_list"):
        build_data_list()
    with pytest.raises(FileNotFoundError, match="no folder"):
        build_data_list(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no table"):
        build_data_list(root, tmp_path / "none.csv")


def test_class_folders_win_over_a_table_with_a_warning(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{name}/{n}.png" for name in "ab" for n in range(5)))
    (root / "labels.csv").write_text("image,label\n")
    with pytest.warns(UserWarning, match=r"holds class folders and 'labels.csv'; the folders are taken"):
        assert build_data_list(root) == data_list_from_folders(root)
