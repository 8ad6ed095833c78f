"""An app goes on with the model it began with, or says that it is asked for another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.starting import kept_augmentation, settle_model
from monai_fpt.networks import FPTClassifier, FPTConfig

CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=32, side_size=16, backbone_kwargs={"depth": 2}
)


def trained(folder: Path, seed: int) -> Path:
    """A run's folder; all have the same facts, and other weights by seed."""
    folder.mkdir()
    torch.manual_seed(seed)
    torch.save(FPTClassifier(CONFIG).state_dict(), folder / "model.pt")
    FPTModelCard(CONFIG, classes=("benign", "malignant")).save(folder / "model.json")
    return folder


def test_the_model_that_an_app_began_with_may_be_named_again(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    settle_model(tmp_path / "app", {"model": str(run)})
    before = (tmp_path / "app" / "model.pt").read_bytes()

    settle_model(tmp_path / "app", {"model": str(run), "classes": "benign, malignant"})

    assert (tmp_path / "app" / "model.pt").read_bytes() == before


def test_other_weights_with_the_same_facts_are_another_model(tmp_path: Path) -> None:
    settle_model(tmp_path / "app", {"model": str(trained(tmp_path / "run", 0))})
    other = trained(tmp_path / "other", 1)

    with pytest.raises(ValueError, match=r"app\" holds another model than \".*other\"; leave out --conf model"):
        settle_model(tmp_path / "app", {"model": str(other)})


def test_a_trained_model_is_not_the_one_of_an_app_that_began_without(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    (tmp_path / "app").mkdir()
    FPTModelCard.load(run / "model.json").save(tmp_path / "app" / "model.json")

    with pytest.raises(ValueError, match="holds another model"):
        settle_model(tmp_path / "app", {"model": str(run)})


def test_other_classes_than_those_of_the_app_are_refused(tmp_path: Path) -> None:
    settle_model(tmp_path / "app", {"model": str(trained(tmp_path / "run", 0))})

    with pytest.raises(ValueError, match=r"--conf classes 'malignant,benign' are not those of the app's model"):
        settle_model(tmp_path / "app", {"classes": "malignant,benign"})


def test_how_a_run_mirrored_its_images_is_kept(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    settle_model(tmp_path / "before", {"model": str(run)})
    assert kept_augmentation(tmp_path / "before") == {}
    (run / "config.json").write_text('{"flip_prob": 0.0, "rotate_prob": 1, "max_epochs": 3}')

    settle_model(tmp_path / "app", {"model": str(run)})
    settle_model(tmp_path / "before", {"model": str(run)})  # an app of an earlier version, started again

    for folder in ("app", "before"):
        assert kept_augmentation(tmp_path / folder) == {"flip_prob": 0.0, "rotate_prob": 1.0}
    options = {"classes": "a,b", "backbone_weights": "none", "backbone": "vit_tiny_patch16_224"}
    settle_model(tmp_path / "new", {**options, "flip_prob": "0"})
    assert kept_augmentation(tmp_path / "new") == {"flip_prob": 0.0}


def test_a_chance_that_is_none_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    (run / "config.json").write_text('{"flip_prob": "$0.5"}')

    with pytest.raises(ValueError, match=r"config.json\" says flip_prob='\$0.5', which is no probability"):
        settle_model(tmp_path / "app", {"model": str(run)})
    assert list((tmp_path / "app").iterdir()) == []


def test_a_model_that_begins_without_training_starts_with_weights_that_learn_in_few_steps(tmp_path: Path) -> None:
    settle_model(
        tmp_path / "app",
        {"classes": "benign,malignant", "backbone_weights": "none", "backbone": "vit_tiny_patch16_224"},
    )

    assert FPTModelCard.load(tmp_path / "app" / "model.json").network.side_init == "fan_in"
