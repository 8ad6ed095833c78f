"""What all sites must agree on is compared before anything is learnt, and a site decides only what is its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from federated_toys import CLASSES, SETTINGS, SPLITS, draw_site

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import data_item
from monai_fpt.features import FPTModelCard
from monai_fpt.federated import FPTFederation, FPTMonaiAlgo, fpt_require_agreed, fpt_require_federable
from monai_fpt.federated.client import SITE_VARIABLE, site_settings
from monai_fpt.handlers import fpt_root_cause
from monai_fpt.networks import FPTConfig


def test_a_plan_is_read_as_it_was_written(plan: Path) -> None:
    made, read = FPTFederation.plan(CLASSES, 2, 1, SETTINGS), FPTFederation.load(plan)

    assert (read.card, read.rounds, read.local_epochs) == (made.card, made.rounds, made.local_epochs)
    assert read.settings == SETTINGS
    assert set(read.weights) == set(made.weights)
    assert all(torch.equal(read.weights[name], made.weights[name]) for name in made.weights)


def test_a_plan_tells_no_path_of_the_backbone(tmp_path: Path) -> None:
    settings = {**SETTINGS, "backbone_weights": "/home/someone/vit.safetensors"}
    made = dataclasses.replace(FPTFederation.plan(CLASSES, 1, 1, SETTINGS), settings=settings)

    made.save(tmp_path)

    assert "someone" not in (tmp_path / "federation.json").read_text() + (tmp_path / "model.json").read_text()


@pytest.mark.parametrize(
    "setting",
    [
        *("dataset_dir", "run_dir", "max_epochs", "resume", "tracking_uri"),
        "data#dataset_dir",
        "data::data_list",
        "store#path",
        "+tracker",
        "train#dataset#data",
        "train#handlers#7#run_dir",
    ],
)
def test_a_plan_cannot_say_what_a_site_reads_or_where_it_writes(setting: str) -> None:
    card = FPTModelCard(FPTConfig(backbone="vit_tiny_patch16_224", num_classes=2), classes=("a", "b"))
    with pytest.raises(ValueError, match="cannot be a common setting"):
        FPTFederation(card, {}, 1, 1, {setting: "/elsewhere"})
    FPTFederation(card, {}, 1, 1, {"learning_rate": 0.1, "network_config#side_size": 64, "optimizer#betas": [0.5, 0.9]})


def test_a_plan_without_rounds_or_with_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one round"):
        FPTFederation.plan(CLASSES, 0, 1, SETTINGS)
    with pytest.raises(ValueError, match="two different names"):
        FPTFederation.plan(["benign"], 1, 1, SETTINGS)


@pytest.mark.parametrize("name", ["learning_rate", "image_size", "federation", "initialize"])
def test_a_site_cannot_change_what_is_agreed(plan: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a setting of a site"):
        FPTMonaiAlgo(plan, {name: 1})


def changed(card: FPTModelCard, where: str, **fields: Any) -> FPTModelCard:
    if where == "card":
        return dataclasses.replace(card, **fields)
    return dataclasses.replace(card, **{where: dataclasses.replace(getattr(card, where), **fields)})


@pytest.mark.parametrize(
    ("where", "fields", "named"),
    [
        ("card", {"classes": ("malignant", "benign")}, "classes"),
        ("card", {"reader": {"scale": "file"}}, "reader"),
        ("card", {"task": "multilabel"}, "task"),
        ("features", {"backbone_fingerprint": "0" * 64}, "backbone_fingerprint"),
        ("features", {"mean": (0.1, 0.2, 0.3)}, "mean"),
        ("network", {"num_prompts": 8}, "num_prompts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_site_with_another_model_is_refused_by_what_differs(
    plan: Path, where: str, fields: dict[str, Any], named: str
) -> None:
    card = changed(FPTFederation.load(plan).card, where, **fields)

    with pytest.raises(ValueError, match=named):
        fpt_require_agreed(card, plan)


def test_a_site_whose_data_and_file_of_the_backbone_are_its_own_fits(plan: Path) -> None:
    card = FPTFederation.load(plan).card
    own = dataclasses.replace(card.network, backbone_weights="elsewhere.safetensors")

    fpt_require_agreed(dataclasses.replace(card, network=own, data_digest="abc"), plan)


def started(plan: Path, images: Path, run_dir: Path, **site: Any) -> FPTMonaiAlgo:
    own = {"dataset_dir": str(images), "run_dir": str(run_dir), "device": "cpu", "track": False}
    algo = FPTMonaiAlgo(plan, {**own, **site})
    algo.initialize({})
    return algo


def test_a_site_with_another_backbone_is_refused_before_it_reads_an_image(
    plan: Path, site_images: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from monai_fpt.networks import frozen_backbone

    trunk = frozen_backbone(FPTFederation.load(plan).card.network).vit.state_dict()
    save_file({name: (value + 0.001).contiguous() for name, value in trunk.items()}, tmp_path / "other.safetensors")

    with pytest.raises(Exception) as caught:
        started(plan, site_images, tmp_path / "run", backbone_weights=str(tmp_path / "other.safetensors"))

    assert "backbone_fingerprint" in str(fpt_root_cause(caught.value))
    assert not (tmp_path / "run").exists()


def test_a_site_whose_class_names_are_others_is_refused(plan: Path, tmp_path: Path) -> None:
    images = draw_site(tmp_path / "images", classes=("benign", "melanoma"), count=2)

    with pytest.raises(Exception) as caught:
        started(plan, images, tmp_path / "run")

    assert "melanoma" in str(fpt_root_cause(caught.value))


def test_a_site_that_never_saw_one_of_the_classes_takes_part_with_a_saved_list(plan: Path, tmp_path: Path) -> None:
    images = draw_site(tmp_path / "images", classes=("malignant",), count=2)
    sections = ([data_item(images, path, 1) for path in sorted((images / s).rglob("*.png"))] for s in SPLITS)
    FPTDataList(CLASSES, *sections).save(tmp_path / "list.json")

    algo = started(plan, images, tmp_path / "run", data_list=str(tmp_path / "list.json"))

    assert algo.train_workflow.parser.get_parsed_content("data").classes == CLASSES


@pytest.mark.parametrize(("weights", "resume"), [("balanced", False), ("decaying", False), ("equal", True)])
def test_what_has_no_meaning_in_a_federation_is_refused(weights: str, resume: bool) -> None:
    with pytest.raises(ValueError, match=r"class_weights|resume"):
        fpt_require_federable(weights, resume)


def test_a_site_finds_its_settings_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "north.json").write_text(json.dumps({"dataset_dir": "images"}))
    monkeypatch.setenv(SITE_VARIABLE, str(tmp_path / "{site}.json"))

    assert site_settings("north") == {"dataset_dir": "images"}
    with pytest.raises(FileNotFoundError, match=SITE_VARIABLE):
        site_settings("south")
    (tmp_path / "south.json").write_text("[1]")
    with pytest.raises(ValueError, match="JSON object"):
        site_settings("south")
