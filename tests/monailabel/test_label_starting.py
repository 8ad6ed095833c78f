"""An app goes on with the model it began with, or says that it is asked for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.booleans import is_true
from monai_fpt.monailabel.starting import kept_augmentation, settled_model, unknown_options
from monai_fpt.monailabel.training_before import learned_before
from monai_fpt.networks import FPTClassifier, FPTConfig

CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=32, side_size=16, backbone_kwargs={"depth": 2}
)


def settle_model(model_dir: Path, conf: dict[str, str]) -> None:
    """A start that goes on."""
    with settled_model(model_dir, conf):
        pass


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

    with pytest.raises(
        ValueError,
        match="--conf classes malignant,benign is not what the model of this app has, classes benign,malignant;",
    ):
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


BEGIN = {"classes": "benign,malignant", "backbone_weights": "none", "backbone": "vit_tiny_patch16_224"}


@pytest.mark.parametrize(
    ("name", "text", "own"),
    [
        ("image_size", "384", "512"),
        ("task", "multilabel", "multiclass"),
        ("ordered", "yes", "false"),
        ("backbone", "vit_small_patch16_224", "vit_tiny_patch16_224"),
        ("classes", "a,b", "benign,malignant"),
    ],
)
def test_an_option_that_an_app_did_not_begin_with_is_refused_by_name(
    name: str, text: str, own: str, tmp_path: Path
) -> None:
    settle_model(tmp_path / "app", BEGIN)
    settle_model(tmp_path / "app", {**BEGIN, "image_size": "512", "task": "multiclass", "ordered": "no"})

    with pytest.raises(
        ValueError, match=f"--conf {name} {text} is not what .* has, {name} {own}; .* or begin with another"
    ):
        settle_model(tmp_path / "app", {**BEGIN, name: text})
    run = trained(tmp_path / "run", 0)
    if (name, text) != ("image_size", "512"):
        with pytest.raises(ValueError, match=f"--conf {name} {text} is not what"):
            settle_model(tmp_path / "fresh", {"model": str(run), name: text})
        assert list((tmp_path / "fresh").iterdir()) == []


def test_a_start_that_fails_leaves_nothing_that_the_next_one_goes_on_with(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        settled_model(tmp_path / "app", {**BEGIN, "backbone": "vit_base_patch16_224"}),
    ):
        raise FileNotFoundError("no backbone")

    assert list((tmp_path / "app").iterdir()) == []
    settle_model(tmp_path / "app", BEGIN)
    assert FPTModelCard.load(tmp_path / "app" / "model.json").network.backbone == "vit_tiny_patch16_224"


def test_how_trainings_mirror_may_change_at_any_start_and_stays(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    (run / "config.json").write_text('{"flip_prob": 0.5, "rotate_prob": 0.25}')

    settle_model(tmp_path / "app", {"model": str(run), "flip_prob": "0.3"})
    assert kept_augmentation(tmp_path / "app") == {"flip_prob": 0.3, "rotate_prob": 0.25}
    settle_model(tmp_path / "app", {"flip_prob": "0"})
    with pytest.raises(ValueError, match="--conf\" says flip_prob='2', which is no probability"):
        settle_model(tmp_path / "app", {"flip_prob": "2"})
    settle_model(tmp_path / "app", {"model": str(run)})
    assert kept_augmentation(tmp_path / "app") == {"flip_prob": 0.0, "rotate_prob": 0.25}


def test_one_reading_of_truths_and_no_word_is_silently_false(tmp_path: Path) -> None:
    settle_model(tmp_path / "app", {**BEGIN, "classes": "a,b,c", "ordered": "yes"})
    assert FPTModelCard.load(tmp_path / "app" / "model.json").ordered

    words = ["true", " Yes", "1", "on", "false", "NO", "0", "off"]
    assert [is_true(word) for word in words] == [True] * 4 + [False] * 4
    with pytest.raises(ValueError, match="--conf ordered 'perhaps' is neither true nor false"):
        settle_model(tmp_path / "other", {**BEGIN, "ordered": "perhaps"})


def test_an_option_that_does_not_exist_is_told_with_the_one_that_is_meant() -> None:
    told = unknown_options({"flip_probs": "0", "model": "x", "server_mode": "true", "zzz": "1"})

    assert told[0] == "--conf flip_probs is no option of this app and does nothing; did you mean flip_prob?"
    assert len(told) == 2 and "--conf zzz is no option" in told[1]


def test_the_training_images_of_a_run_are_known_to_an_app_that_begins_with_it(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 0)
    settle_model(tmp_path / "before", {"model": str(run)})  # an app of an earlier version
    rows = [{"key": "a.png", "label": 0, "group": "p"}]
    (run / "data_list.json").write_text(json.dumps({"training": rows, "validation": [], "test": []}))

    settle_model(tmp_path / "app", {"model": str(run)})
    settle_model(tmp_path / "before", {"model": str(run)})

    for app in ("app", "before"):
        assert (learned_before(tmp_path / app).keys, learned_before(tmp_path / app).groups) == (
            {"a.png": "training"},
            {"p": "training"},
        )


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
