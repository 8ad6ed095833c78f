"""What all public data sets share: MONAI's constructor, splits that do not depend on the machine, one form of items."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
import torch
from monai.apps import CrossValidation
from monai.data import DataLoader

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.data import FPTDataList
from monai_fpt.data.datasets import (
    CMMDDataset,
    COVIDCXRDataset,
    FPTPublicDataset,
    ISIC2018Dataset,
    Messidor2Dataset,
    MiniDDSMDataset,
    ShenzhenCXRDataset,
    fpt_dataset_list,
    fpt_datasets,
    named_fpt_dataset,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy", "ignore:.*no groups are known")
SECTIONS = ("training", "validation", "test")
ALL = list(fpt_datasets().values())
TREES = {
    "messidor2": trees.messidor2,
    "ddr": trees.ddr,
    "isic2016": trees.isic2016,
    "isic2018": trees.isic2018,
    "mini_ddsm": trees.mini_ddsm,
    "cmmd": trees.cmmd,
    "covid": trees.covid,
    "chncxr": trees.shenzhen,
    "medmnist": lambda root: trees.medmnist_npz(root / "breastmnist_64.npz"),
}
OPTIONS: dict[str, dict[str, Any]] = {"medmnist": {"subset": "breastmnist", "size": 64}}
# mean, std and learning rate as the paper's authors published them, class order as documented
PAPER = {
    "messidor2": ((0.4844, 0.2238, 0.0758), (0.2939, 0.1472, 0.0635), 2e-4, 5),
    "ddr": ((0.4237, 0.2609, 0.1284), (0.2948, 0.2017, 0.1367), 5e-4, 5),
    "isic2016": ((0.7244, 0.6187, 0.5665), (0.1638, 0.1709, 0.1911), 5e-3, 2),
    "isic2018": ((0.7636, 0.5466, 0.5707), (0.1404, 0.1519, 0.1692), 1e-4, 7),
    "mini_ddsm": ((0.2027,) * 3, (0.2247,) * 3, 1e-3, 3),
    "cmmd": ((0.1674,) * 3, (0.1802,) * 3, 5e-5, 2),
    "covid": ((0.4983, 0.4986, 0.4989), (0.2426,) * 3, 1e-4, 3),
    "chncxr": ((0.6105,) * 3, (0.2585,) * 3, 5e-4, 2),
}


@pytest.mark.parametrize("dataset", ALL, ids=lambda d: d.name)
def test_all_constructors_are_monai_s_with_an_empty_cache(dataset: type[FPTPublicDataset]) -> None:
    parameters = inspect.signature(dataset).parameters
    shared = [name for name, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert shared == [
        "root_dir", "section", "transform", "download", "seed", "split", "val_frac", "test_frac", "cache_num", "cache_rate",
        "num_workers", "progress", "copy_cache", "as_contiguous", "runtime_cache",
    ]  # fmt: skip
    assert parameters["cache_rate"].default == 0.0
    assert {name for name in parameters if name not in shared} == set(dataset.options)


@pytest.mark.parametrize("name", TREES)
def test_every_data_set_gives_stackable_items_in_disjoint_sections(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path)
    options = OPTIONS.get(name, {})
    made = {s: fpt_datasets()[name](tmp_path, s, progress=False, **options) for s in SECTIONS}
    keys = [item["key"] for s in SECTIONS for item in made[s].data]
    assert len(keys) == len(set(keys)) == sum(len(dataset) for dataset in made.values())
    for section, dataset in made.items():
        assert dataset.data == dataset.data_list.section(section)
        assert dataset.data_list == fpt_dataset_list(name, tmp_path, progress=False, **options)
        first = dataset[0]
        assert first["image"].shape[0] == 3 and first["image"].min() >= 0 and first["image"].max() <= 1
        assert first["class_name"] == dataset.data_list.classes[first["label"]]
        assert dataset.get_num_classes() == len(dataset.data_list.classes)
        batch = next(iter(DataLoader([i | {"image": torch.zeros(1)} for i in dataset.data], batch_size=3)))
        assert len(batch["key"]) == min(3, len(dataset))


@pytest.mark.parametrize("name", TREES)
def test_a_list_can_be_saved_and_read_under_another_root(tmp_path: Path, name: str) -> None:
    TREES[name](tmp_path / "here")
    data = fpt_dataset_list(name, tmp_path / "here", progress=False, **OPTIONS.get(name, {}))
    data.save(tmp_path / "list.json")
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = FPTDataList.load(tmp_path / "list.json", tmp_path / "there")
    assert moved.digest == data.digest and moved.ordered == data.ordered
    assert {k: v for k, v in moved.training[0].items() if k != "image"} == {
        k: v for k, v in data.training[0].items() if k != "image"
    }


@pytest.mark.parametrize("name", TREES)
def test_splits_do_not_depend_on_the_order_of_the_file_system(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TREES[name](tmp_path)
    options = OPTIONS.get(name, {})
    made = fpt_dataset_list(name, tmp_path, split="grouped", progress=False, **options)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in list(walk(*a, **k))[::-1]))
    assert fpt_dataset_list(name, tmp_path, split="grouped", progress=False, **options) == made
    assert fpt_dataset_list(name, tmp_path, split="grouped", seed=1, progress=False, **options).digest != made.digest


def test_the_case_of_a_suffix_does_not_change_the_split(tmp_path: Path) -> None:
    trees.messidor2(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b/IMAGES").glob("*.JPG"):
        path.rename(path.with_suffix(".jpg"))
    made, other = (fpt_dataset_list("messidor2", tmp_path / name, progress=False) for name in "ab")
    assert [i["key"].lower() for i in made.test] == [i["key"].lower() for i in other.test]


def test_image_level_splits_take_the_paper_s_shares_and_warn_where_groups_are_torn(tmp_path: Path) -> None:
    trees.messidor2(tmp_path, patients=50)
    with pytest.warns(UserWarning, match="split image by image: both eyes of a patient may be in two sections"):
        data = fpt_dataset_list("messidor2", tmp_path, split="image", progress=False)
    assert [data.class_counts(s) for s in SECTIONS] == [[14] * 5, [2] * 5, [4] * 5]
    torn = {i["group"] for i in data.training} & {i["group"] for i in data.test}
    assert torn  # which is what the warning is about


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_copy_with_few_patients_loads_whole_and_says_what_sections_lack(tmp_path: Path, number: int) -> None:
    trees.mini_ddsm(tmp_path, cases=number)
    with pytest.warns(UserWarning) if number < 3 else pytest.warns(UserWarning, match="incomplete copy") as said:
        data = fpt_dataset_list("mini_ddsm", tmp_path, progress=False)
    texts = "\n".join(str(warning.message) for warning in said)
    expected = {1: ["validation", "test"], 2: ["validation"], 3: []}[number]
    for section in SECTIONS:
        assert (f"section {section} has no image of Normal, Benign, Cancer" in texts) == (section in expected)
    assert sum(len(data.section(s)) for s in SECTIONS) == 12 * number
    assert not {i["group"] for i in data.training} & {i["group"] for i in data.test}


def test_a_class_without_any_image_keeps_the_labels_of_the_others(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path, jpeg=False)
    shutil.rmtree(tmp_path / "MINI-DDSM-Complete-PNG-16/Benign")
    with pytest.warns(UserWarning, match="section training has no image of Benign"):
        data = fpt_dataset_list("mini_ddsm", tmp_path, progress=False)
    assert {(i["label"], i["class_name"]) for i in data.training} == {(0, "Normal"), (2, "Cancer")}


def test_cross_validation_of_monai_tears_no_patient_apart(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path, cases=8, jpeg=False)
    folds = CrossValidation(MiniDDSMDataset, nfolds=3, seed=1, root_dir=tmp_path, section="training", progress=False)
    parts = [folds.get_dataset(folds=n) for n in range(3)]
    groups = [{item["group"] for item in part.data} for part in parts]
    whole = parts[0].data_list
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert sum(len(part) for part in parts) == len(whole.training) + len(whole.validation)
    assert not set().union(*groups) & {item["group"] for item in whole.test}
    held_out = folds.get_dataset(folds=[1, 2])
    assert sorted(i["key"] for i in held_out.data) == sorted(i["key"] for part in parts[1:] for i in part.data)


def test_indices_are_positions_in_the_whole_list(tmp_path: Path) -> None:
    trees.shenzhen(tmp_path)
    dataset = ShenzhenCXRDataset(tmp_path, "test", progress=False)
    whole = [item for s in SECTIONS for item in dataset.data_list.section(s)]
    assert [whole[i] for i in dataset.get_indices()] == dataset.data and dataset.get_indices().dtype == np.int64


def test_transforms_and_the_cache_work_as_in_monai(tmp_path: Path) -> None:
    trees.shenzhen(tmp_path)
    dataset = ShenzhenCXRDataset(tmp_path, "test", transform=lambda item: item["key"], cache_rate=1.0, progress=False)
    assert [dataset[n] for n in range(len(dataset))] == [item["key"] for item in dataset.data_list.test]


def test_properties_are_the_facts_of_this_copy(tmp_path: Path) -> None:
    trees.cmmd(tmp_path)
    dataset = CMMDDataset(tmp_path, "training", progress=False, unlabelled="normal")
    assert dataset.get_properties("classes") == {"classes": ("Benign", "Malignant", "Normal")}
    assert dataset.get_properties(["learning_rate", "group_key"]) == {"learning_rate": 5e-5, "group_key": "PatientID"}
    assert {"licence", "mean", "std", "homepage", "citation", "sources"} <= set(dataset.get_properties())
    with pytest.raises(KeyError):
        dataset.get_properties("colour")


def test_counts_and_licence_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.isic2018(tmp_path)
    for section in SECTIONS:
        ISIC2018Dataset(tmp_path, section, progress=False)
    out = capsys.readouterr().out
    assert out.count("Licence of ISIC 2018: CC BY-NC 4.0") == 1
    assert out.count("split official") == 1 and "groups" in out and "AKIEC" in out


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"root_dir": "none"}, ValueError, "root_dir .* is no folder"),
        ({"section": "train"}, ValueError, "no section 'train'"),
        ({"split": "random"}, ValueError, "split is 'random'"),
        ({"split": "official"}, ValueError, "no official split"),
        ({"val_frac": 0.9, "test_frac": 0.2}, ValueError, "must not be negative"),
    ],
    ids=["folder", "section", "split", "official", "fractions"],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    trees.messidor2(tmp_path)
    given = {"root_dir": tmp_path, "section": "training", "progress": False} | arguments
    with pytest.raises(error, match=message):
        Messidor2Dataset(**given)


@pytest.mark.parametrize("dataset", ALL, ids=lambda d: d.name)
def test_data_sets_that_are_not_there_say_how_to_get_them(tmp_path: Path, dataset: type[FPTPublicDataset]) -> None:
    with pytest.raises(RuntimeError) as caught:
        dataset(tmp_path, "training", progress=False, **OPTIONS.get(dataset.name, {}))
    text = str(caught.value)
    assert ("download=True" in text) == bool(dataset.source_files)
    assert "  1. " in text and "Expected tree:" in text and dataset.licence in text


def test_misspelt_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no option label_lvl, its options are \['label_level', 'variant'\]"):
        fpt_dataset_list("mini_ddsm", tmp_path, label_lvl="breast")
    with pytest.raises(ValueError, match="no option group_by, it has none"):
        fpt_dataset_list("ddr", tmp_path, group_by="content")
    with pytest.raises(TypeError, match="label_lvl"):
        MiniDDSMDataset(tmp_path, "training", label_lvl="breast")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="group_by is 'phash'"):
        COVIDCXRDataset(tmp_path, "training", group_by="phash")


def test_names_of_subsets_mean_medmnist() -> None:
    assert named_fpt_dataset("pathmnist_64", {})[1] == {"subset": "pathmnist", "size": 64}
    assert named_fpt_dataset("RetinaMNIST", {"size": 128})[1] == {"subset": "retinamnist", "size": 128}
    assert named_fpt_dataset("mini-ddsm", {})[0] is MiniDDSMDataset
    with pytest.raises(ValueError, match="differ"):
        named_fpt_dataset("pathmnist_64", {"size": 128})
    with pytest.raises(ValueError, match="there is no 'mnist'"):
        named_fpt_dataset("mnist", {})


@pytest.mark.parametrize("name", PAPER)
def test_presets_and_classes_carry_the_paper_s_numbers(name: str) -> None:
    dataset = fpt_datasets()[name]
    preset = json.loads((fpt_bundle_root() / "configs" / "presets" / f"{name}.json").read_text(encoding="utf-8"))
    mean, std, learning_rate, classes = PAPER[name]
    assert (dataset.mean, dataset.std, dataset.learning_rate, len(dataset.classes)) == (
        mean,
        std,
        learning_rate,
        classes,
    )
    assert (tuple(preset["mean"]), tuple(preset["std"]), preset["learning_rate"]) == (mean, std, learning_rate)
    assert preset["dataset_name"] == name and preset["_preset_"]
    assert preset.get("flip_prob") == (0 if dataset.modality == "chest X-ray" else None)  # the heart lies left


@pytest.mark.parametrize("dataset", ALL, ids=lambda d: d.name)
def test_every_fact_has_its_source(dataset: type[FPTPublicDataset]) -> None:
    assert {"licence", "statistics", "counts"} <= set(dataset.sources)
    assert all(count.source for count in dataset.counts)
    assert (
        dataset.title and dataset.homepage and dataset.citation and dataset.group_key and dataset.tree and dataset.steps
    )
