"""Every preset is a file of overrides that resolves with the training's and the extraction's configuration."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bundle_toys import draw_images, tiny_overrides
from monai.bundle import ConfigParser

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's first import
from monai_fpt.bundle import bundle_config, fpt_bundle_root, run_bundle
from monai_fpt.data.datasets import fpt_datasets

PRESETS = sorted((fpt_bundle_root() / "configs" / "presets").glob("*.json"))
MODALITIES = {"fundus", "dermoscopy", "mammography", "cxr", "ct"}


def parsed(job: str, preset: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(bundle_config(job)), str(preset)])
    return parser


def test_there_is_one_for_every_data_set_of_the_paper_and_every_modality_and_one_recipe() -> None:
    assert {path.stem for path in PRESETS} == {"stable"} | MODALITIES | (set(fpt_datasets()) - {"medmnist"})


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
@pytest.mark.parametrize("job", ["train", "extract"])
def test_a_preset_overrides_only_what_the_bundle_has(job: str, preset: Path) -> None:
    known = set(ConfigParser.load_config_file(str(bundle_config("train"))))
    own = {name.lstrip("+") for name in json.loads(preset.read_text(encoding="utf-8"))} - {"_preset_"}
    assert own <= known
    loader = parsed(job, preset).get_parsed_content("loader")
    assert loader.reader.options.min_size == 1024
    assert loader.reader.options.windows == ((-600, 1500), (40, 400), (400, 1800)) or preset.stem != "ct"


@pytest.mark.parametrize("name", sorted(MODALITIES))
def test_a_model_trained_with_a_modality_s_preset_is_asked_with_it(tmp_path: Path, name: str) -> None:
    images = draw_images(tmp_path / "images", {"train": 4, "val": 2, "test": 2})
    preset = str(fpt_bundle_root() / "configs" / "presets" / f"{name}.json")
    overrides = tiny_overrides(images, tmp_path / "run") | {"max_epochs": 1, "track": False}
    run_bundle("train", overrides, (preset,))
    output = tmp_path / "predictions.csv"
    run_bundle("predict", {"dataset_dir": str(images), "run_dir": str(tmp_path / "run"), "output_file": str(output)})
    assert len(output.read_text(encoding="utf-8").splitlines()) == 17


def test_the_stable_recipe_has_five_members_four_of_them_linear_with_another_start_and_changes_nothing_else_of_the_network() -> (
    None
):
    preset = next(path for path in PRESETS if path.stem == "stable")
    overrides = {"num_classes": 3, "backbone_weights": None}
    configs = []
    for files in ([], [str(preset)]):
        parser = ConfigParser()
        parser.read_config([str(bundle_config("train")), *files])
        parser.update(overrides)
        configs.append(parser.get_parsed_content("network_config"))

    paper, stable = configs

    assert dataclasses.replace(paper, side_init="fan_in", members=5, linear_members=4) == stable
    settings = {name.lstrip("+") for name in json.loads(preset.read_text(encoding="utf-8"))}
    assert settings == {"_preset_", "network_config", "learning_rate", "model_selection"}


def test_the_stable_recipe_gives_each_member_as_many_steps_of_the_same_size_as_the_paper_gives_one(
    tmp_path: Path,
) -> None:
    images = draw_images(tmp_path / "images", {"train": 5, "val": 2, "test": 2})
    loaders = []
    for preset in ([], [str(fpt_bundle_root() / "configs" / "presets" / "stable.json")]):
        parser = ConfigParser()
        parser.read_config([str(bundle_config("train")), *preset])
        parser.update(tiny_overrides(images, tmp_path / "run") | {"batch_size": 4})
        parser["store"] = None
        loaders.append(parser.get_parsed_content("train#dataloader"))

    paper, stable = loaders

    assert (paper.batch_size, stable.batch_size) == (4, 20)
    assert len(paper) == len(stable) == 2
    assert sorted(item["key"] for item in stable.dataset.data) == sorted(
        item["key"] for item in list(paper.dataset.data) * 5
    )
