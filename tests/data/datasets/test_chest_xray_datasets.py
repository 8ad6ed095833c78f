"""COVID and Shenzhen chest X-rays: every file is counted, the name or folder is the label."""

from __future__ import annotations

import shutil
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from monai_fpt.data import FPTDataList
from monai_fpt.data.datasets import COVIDCXRDataset, ShenzhenCXRDataset, fpt_dataset_list
from monai_fpt.data.datasets.likeness import groups_of_likeness

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy", "ignore:.*no groups are known")
SECTIONS = ("training", "validation", "test")


def all_items(data: FPTDataList) -> list[dict[str, object]]:
    return [item for name in SECTIONS for item in data.section(name)]


@pytest.mark.parametrize(
    "home", ["COVID_IEEE", "covid-cxr/COVID_IEEE", "."], ids=["parent", "nested", "its own folder"]
)
def test_covid_counts_every_kind_of_file(tmp_path: Path, home: str) -> None:
    trees.covid(tmp_path, home=home)
    items = all_items(fpt_dataset_list("covid", tmp_path, progress=False))
    assert len(items) == 30
    assert {Path(str(item["key"])).suffix for item in items} == {".jpg", ".png", ".jfif", ".jpeg", ".JPG"}
    assert all(item["class_name"] == Path(str(item["key"])).parent.name for item in items)
    assert [sorted({"covid": 0, "normal": 1, "virus": 2}.items())] == [
        sorted((str(i), n) for n, i in enumerate(COVIDCXRDataset.classes))
    ]


def test_covid_images_of_all_modes_are_read(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    images = COVIDCXRDataset(tmp_path, "training", progress=False)
    assert {tuple(images[n]["image"].shape) for n in range(len(images))} == {(3, 40, 40)}


def test_covid_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    (tmp_path / "COVID_IEEE/covid/0").write_bytes((tmp_path / "COVID_IEEE/covid/covid (0).jpg").read_bytes())
    trees.write_text(tmp_path / "COVID_IEEE/virus/picture.webp", "RIFF....WEBP")
    with pytest.warns(UserWarning, match=r"1 files in the class folders are of no readable kind \(1 \.webp\)"):
        data = fpt_dataset_list("covid", tmp_path, progress=False)
    assert len(all_items(data)) == 31  # the JPEG without a suffix is one


def test_covid_repackagings_are_not_mixed_in(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "COVID_IEEE/covid", tmp_path / f"COVID_IEEE/{part}/covid")
        shutil.copytree(tmp_path / "COVID_IEEE/normal", tmp_path / f"COVID_IEEE/{part}/normal")
    with pytest.raises(ValueError, match="repackaging with a split of unknown origin"):
        fpt_dataset_list("covid", tmp_path, progress=False)


def test_covid_warns_of_leakage_and_can_group_by_content(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    with pytest.warns(UserWarning, match="no groups are known, so the split is image by image"):
        fpt_dataset_list("covid", tmp_path, progress=False)
    with Image.open(tmp_path / "COVID_IEEE/covid/covid (5).jpg") as image:
        image.resize((80, 80), Image.Resampling.NEAREST).convert("L").save(tmp_path / "COVID_IEEE/virus/again.png")
    data = fpt_dataset_list("covid", tmp_path, group_by="content", progress=False)
    groups = {str(item["key"]): (item["group"], section) for section in SECTIONS for item in data.section(section)}
    assert groups["COVID_IEEE/virus/again.png"] == groups["COVID_IEEE/covid/covid (5).jpg"]
    assert len({group for group, _ in groups.values()}) == 30


def test_likeness_finds_recompressed_images_and_keeps_real_ones_apart(tmp_path: Path) -> None:
    y, x = np.mgrid[0:200, 0:160]
    for n in range(6):
        picture = 127 + 100 * np.sin(x / (9 + n) + n) * np.cos(y / (17 - n))
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{n}.png")
    with Image.open(tmp_path / "0.png") as image:
        image.resize((144, 180)).save(tmp_path / "0 again.jpg", quality=70)
    groups = groups_of_likeness({path.name: path for path in tmp_path.iterdir()}, progress=False)
    assert groups["0.png"] == groups["0 again.jpg"] and len(set(groups.values())) == 6


def test_likeness_keeps_real_chest_x_rays_apart(real_data: Path) -> None:
    paths = {path.name: path for path in sorted((real_data / "cxr_ap_pa/images").iterdir())}
    groups = groups_of_likeness(paths, progress=False)
    assert len(set(groups.values())) == len(paths)


@pytest.mark.parametrize(
    "home", ["ChinaSet_AllFiles", "ChinaSet_AllFiles/ChinaSet_AllFiles"], ids=["original", "nested mirror"]
)
def test_shenzhen_labels_are_the_last_digit(tmp_path: Path, home: str) -> None:
    trees.shenzhen(tmp_path, home=home)
    trees.write_image(tmp_path / home / "CXR_png" / "CHNCXR_0001_0_mask.png", mode="L")
    data = fpt_dataset_list("chncxr", tmp_path, progress=False)
    items = all_items(data)
    assert len(items) == 20 and all(str(item["key"])[-5] == str(item["label"]) for item in items)
    assert data.classes == ("normal", "tuberculosis")
    assert {tuple(ShenzhenCXRDataset(tmp_path, "test", progress=False)[n]["image"].shape) for n in range(4)} == {
        (3, 8, 8)
    }


def test_shenzhen_readings_are_understood_or_left_empty(tmp_path: Path) -> None:
    trees.shenzhen(tmp_path)
    told = {
        str(i["group"]): (i["sex"], i["age"]) for i in all_items(fpt_dataset_list("chncxr", tmp_path, progress=False))
    }
    assert told["0001"] == ("male", "45") and told["0002"] == ("female", "0.75")
    assert told["0003"] == ("female", "30") and told["0004"] == ("", "")


def test_shenzhen_two_copies_are_refused(tmp_path: Path) -> None:
    trees.shenzhen(tmp_path)
    shutil.copytree(tmp_path / "ChinaSet_AllFiles/CXR_png", tmp_path / "ChinaSet_AllFiles/ChinaSet_AllFiles/CXR_png")
    with pytest.raises(ValueError, match="have the same name"):
        fpt_dataset_list("chncxr", tmp_path, progress=False)
