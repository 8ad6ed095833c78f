"""MedMNIST+: arrays become files with the labels they had, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from monai_fpt.data import data_list_from_table
from monai_fpt.data.datasets import MedMNISTPlusDataset, check_fpt_dataset, fpt_dataset_list, npz_source
from monai_fpt.data.datasets.medmnist_facts import MEDMNIST_SUBSETS

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy", "ignore:.*has not the published MD5")
SECTIONS = {"train": "training", "val": "validation", "test": "test"}


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_labels_survive_the_way_to_files(tmp_path: Path, channels: int) -> None:
    subset, classes = {1: ("octmnist", 4), 3: ("retinamnist", 5)}[channels]
    arrays = trees.medmnist_npz(tmp_path / f"{subset}_64.npz", channels=channels, classes=classes)
    data = fpt_dataset_list("medmnist", tmp_path, subset=subset, size=64, progress=False)
    for part, section in SECTIONS.items():
        items = data.section(section)
        assert [item["label"] for item in items] == arrays[f"{part}_labels"][:, 0].tolist()
        for item, pixels in zip(items, arrays[f"{part}_images"], strict=True):
            with Image.open(item["image"]) as image:
                np.testing.assert_array_equal(np.asarray(image), pixels)
    assert data.ordered == (subset == "retinamnist")
    assert data.classes == MEDMNIST_SUBSETS[subset].classes


def test_several_labels_stay_several(tmp_path: Path) -> None:
    arrays = trees.medmnist_npz(tmp_path / "chestmnist_128.npz", size=128, classes=14, multilabel=True)
    data = fpt_dataset_list("chestmnist_128", tmp_path, progress=False)
    assert data.task == "multilabel" and "class_name" not in data.training[0]
    assert [item["label"] for item in data.training] == arrays["train_labels"].astype(float).tolist()


@pytest.mark.parametrize(
    ("subset", "columns", "options"),
    [("breastmnist", 2, {}), ("chestmnist", 14, {"label_columns": list(MEDMNIST_SUBSETS["chestmnist"].classes)})],
)
def test_the_table_beside_the_images_is_one_of_ours(
    tmp_path: Path, subset: str, columns: int, options: dict[str, list[str]]
) -> None:
    trees.medmnist_npz(tmp_path / f"{subset}_64.npz", classes=columns, multilabel=columns > 2)
    data = fpt_dataset_list(f"{subset}_64", tmp_path, progress=False)
    table = data_list_from_table(
        tmp_path / f"{subset}_64/labels.csv", classes=None if options else data.classes, **options
    )
    for section in SECTIONS.values():
        assert [item["label"] for item in table.section(section)] == [item["label"] for item in data.section(section)]


def test_the_archive_is_unpacked_once_and_a_damaged_folder_is_found(tmp_path: Path) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    MedMNISTPlusDataset(tmp_path, "test", progress=False, subset="breastmnist", size=64)
    (tmp_path / "breastmnist_64.npz").unlink()
    assert len(MedMNISTPlusDataset(tmp_path, "test", progress=False, subset="breastmnist", size=64)) == 6
    (tmp_path / "breastmnist_64/val/000001.png").unlink()
    with pytest.raises(
        RuntimeError, match=r"half there, 1 images of its labels\.csv are missing, first 'val/000001\.png'"
    ):
        MedMNISTPlusDataset(tmp_path, "test", progress=False, subset="breastmnist", size=64)


@pytest.mark.parametrize("archive_stays", [True, False])
def test_an_archive_with_another_checksum_is_said_every_time(tmp_path: Path, archive_stays: bool) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    for _ in range(2):
        with pytest.warns(UserWarning, match="has not the published MD5 742edef2a1fd1524b2efff4bd7ba9364"):
            fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
        if not archive_stays:
            (tmp_path / "breastmnist_64.npz").unlink(missing_ok=True)
    corrupt = check_fpt_dataset("breastmnist_64", tmp_path, progress=False).corrupt
    assert len(corrupt) == 1 + archive_stays and "folder breastmnist_64 was made of" in corrupt[-1]


def test_the_published_archive_is_not_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    md5 = hashlib.md5((tmp_path / "breastmnist_64.npz").read_bytes()).hexdigest()
    facts = replace(MEDMNIST_SUBSETS["breastmnist"], md5={64: md5}, images=(12, 4, 6))
    monkeypatch.setitem(MEDMNIST_SUBSETS, "breastmnist", facts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            fpt_dataset_list("breastmnist_64", tmp_path, progress=False)


def swap_labels(archive: Path) -> None:
    """Another file of the same size."""
    size = archive.stat().st_size
    with np.load(archive) as old:
        arrays = {key: 1 - old[key] if key.endswith("labels") else old[key] for key in old.files}
    np.savez(archive, **arrays)
    assert archive.stat().st_size == size


def test_a_folder_does_not_outlive_a_replaced_archive(tmp_path: Path) -> None:
    archive = tmp_path / "breastmnist_64.npz"
    np.savez(archive, **trees.medmnist_npz(archive))
    before = fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    swap_labels(archive)
    with pytest.raises(ValueError, match=r"was made of a file with MD5 \w+, .* has \w+; remove the folder"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    assert "was made of a file with MD5" in check_fpt_dataset("breastmnist_64", tmp_path, progress=False).corrupt[-1]
    shutil.rmtree(tmp_path / "breastmnist_64")
    after = fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    assert [1 - item["label"] for item in before.training] == [item["label"] for item in after.training]


def test_an_unchanged_archive_is_hashed_once_and_a_touched_one_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    digest = npz_source.digest_of_file
    monkeypatch.setattr(npz_source, "digest_of_file", lambda path, kind: hashed.append(path.name) or digest(path, kind))
    archive = tmp_path / "breastmnist_64.npz"
    trees.medmnist_npz(archive)
    counts = []
    for start in range(5):
        if start == 2:
            os.utime(archive, ns=(1, 1))
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
        counts.append(hashed.count(archive.name))
    assert counts == [1, 1, 2, 2, 2]


def test_an_edited_table_and_a_folder_of_unknown_origin_are_not_trusted(tmp_path: Path) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    table = tmp_path / "breastmnist_64/labels.csv"
    table.write_bytes(table.read_bytes() + b"\r\n")
    with pytest.raises(ValueError, match=r"labels\.csv' was changed after it was written; remove the folder"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    (tmp_path / "breastmnist_64/source.json").unlink()
    with pytest.raises(ValueError, match=r"does not say in source\.json of which file it was made"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    (tmp_path / "breastmnist_64.npz").unlink()
    with pytest.warns(UserWarning, match=r"does not say of which \.npz file it was made, its labels may be wrong"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    assert not check_fpt_dataset("breastmnist_64", tmp_path, progress=False).ok


def test_two_folders_of_one_name_are_an_error(tmp_path: Path) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    shutil.copytree(tmp_path / "breastmnist_64", tmp_path / "old/breastmnist_64")
    with pytest.raises(ValueError, match=r"2 folders called 'breastmnist_64' .*old/breastmnist_64"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)


def test_an_empty_folder_is_filled_and_one_without_a_table_is_said(tmp_path: Path) -> None:
    trees.medmnist_npz(tmp_path / "breastmnist_64.npz")
    (tmp_path / "breastmnist_64").mkdir()
    fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    (tmp_path / "breastmnist_64/labels.csv").unlink()
    with pytest.raises(RuntimeError, match=r"breastmnist_64' is there without a labels\.csv; remove it"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)


def test_dermamnist_is_said_to_leak(tmp_path: Path) -> None:
    trees.medmnist_npz(tmp_path / "dermamnist_64.npz", channels=3, classes=7)
    with pytest.warns(UserWarning, match="dermamnist have pictures of one lesion on both sides"):
        fpt_dataset_list("dermamnist_64", tmp_path, progress=False)


def with_array(path: Path, name: str, array: np.ndarray, *, pickled: bool = False) -> None:
    """Exchange one array of a .npz file."""
    with np.load(path) as old:
        arrays = {key: old[key] for key in old.files}
    arrays.pop(name)
    np.savez(path, **arrays)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("val_images", np.array([object()] * 4), "of type object"),
        ("val_images", np.zeros((4, 64, 63), np.uint8), r"is \(4, 64, 63\) of uint8, not \(4, 64, 64\)"),
        ("val_images", np.zeros((4, 64, 64), np.float32), "of float32"),
        ("val_images", np.zeros((4, 64, 64, 3), np.uint8), "not"),
        ("test_labels", np.array([[0], [1], [2], [0], [0], [0]], np.uint8), "values to 2, not 0 to 1"),
        ("test_labels", np.zeros((6, 2), np.uint8), r"are \(6, 2\)"),
        ("test_labels", np.zeros((5, 1), np.uint8), r"is \(6, 64, 64\) of uint8, not \(5"),
    ],
    ids=["pickled", "another size", "another type", "colour", "no such class", "several labels", "fewer labels"],
)  # fmt: skip
def test_arrays_that_are_not_the_subset_s_leave_nothing_behind(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    path = tmp_path / "breastmnist_64.npz"
    trees.medmnist_npz(path)
    with_array(path, name, array, pickled=array.dtype == object)
    with pytest.raises(RuntimeError, match=message):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".fpt_download")] == ["breastmnist_64.npz"]


def test_a_cut_off_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist_64.npz"
    trees.medmnist_npz(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RuntimeError, match="cannot be unpacked"):
        fpt_dataset_list("breastmnist_64", tmp_path, progress=False)
    assert not (tmp_path / "breastmnist_64").exists()


def test_subset_and_size_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subset is None"):
        fpt_dataset_list("medmnist", tmp_path)
    with pytest.raises(ValueError, match="size is 28"):
        fpt_dataset_list("pathmnist", tmp_path, size=28)
    with pytest.raises(TypeError, match="subset"):
        MedMNISTPlusDataset(tmp_path, "test")  # type: ignore[call-arg]


def test_all_twelve_subsets_have_an_address_and_checksum_for_each_size() -> None:
    files = MedMNISTPlusDataset.source_files
    assert len(files) == 36 and len({file.md5 for file in files}) == 36
    assert all(len(file.md5) == 32 and file.url == f"{file.name}?download=1" for file in files)
    assert len(MEDMNIST_SUBSETS) == 12
