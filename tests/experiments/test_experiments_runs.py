"""Cross-validation and search on drawn images: each fold is what the bundle trains, no image is read twice, the test part decides nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import COUNTS, small_overrides

from monai_fpt.bundle import run_bundle
from monai_fpt.compare.ablation import ablation_arms
from monai_fpt.data import FPTDataList
from monai_fpt.experiments import FPTCrossValidation, run_cross_validation, run_search
from monai_fpt.experiments.recipe import stack_refusal, train_parser
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import FPTPredictions
from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT
from monai_fpt.networks.fpt import frozen_backbone

ALL = 2 * sum(COUNTS.values())
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "class_weights": ["equal", "balanced"]}


@pytest.fixture
def overrides(toy_images: Path, toy_cache: Path, tmp_path: Path) -> dict[str, Any]:
    return small_overrides(toy_images, tmp_path / "out", toy_cache)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images that a backbone reads."""
    read: list[int] = []
    plain = FrozenViT.forward

    def counted(self: FrozenViT, image: torch.Tensor) -> Any:
        read.append(len(image))
        return plain(self, image)

    monkeypatch.setattr(FrozenViT, "forward", counted)
    return read


@pytest.fixture(scope="module")
def stacked(
    toy_images: Path, toy_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FPTCrossValidation]:
    folder = tmp_path_factory.mktemp("stacked") / "cv"
    yield run_cross_validation(small_overrides(toy_images, folder, toy_cache), folds=2, engine="stack", quiet=True)


def test_a_fold_of_the_stack_is_what_the_bundle_trains(stacked: FPTCrossValidation, overrides: dict[str, Any]) -> None:
    by_bundle = run_cross_validation(overrides, folds=2, engine="bundle", quiet=True)
    assert {run.engine for run in stacked.runs} == {"stack"}
    for ours, theirs in zip(stacked.runs, by_bundle.runs, strict=True):
        assert ours.best_epoch == theirs.best_epoch
        for section in ("validation", "test"):
            one, other = ours.predictions[section], theirs.predictions[section]
            assert one.keys == other.keys and one.contents == other.contents
            assert np.abs(one.logits - other.logits).max() < 1e-5
        states = [torch.load(run.folder / "model.pt", weights_only=True) for run in (ours, theirs)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.allclose(states[0][name], states[1][name], atol=1e-4) for name in states[0])
        configs = [json.loads((run.folder / "config.json").read_text()) for run in (ours, theirs)]
        assert configs[0].keys() == configs[1].keys()
        assert FPTModelCard.load(ours.folder / "model.json") == FPTModelCard.load(theirs.folder / "model.json")


def test_a_network_of_several_members_is_one_training_in_the_stack_and_in_the_bundle(overrides: dict[str, Any]) -> None:
    wanted = overrides | {"max_epochs": 2, "model_selection": "last"}
    wanted |= {"network_config#members": 2, "network_config#linear_members": 1}
    found = {}
    for engine in ("stack", "bundle"):
        other = wanted | {"run_dir": f"{overrides['run_dir']}_{engine}"}
        found[engine] = run_cross_validation(other, folds=2, engine=engine, quiet=True).runs

    assert {run.engine for run in found["stack"]} == {"stack"}
    for ours, theirs in zip(found["stack"], found["bundle"], strict=True):
        assert np.abs(ours.predictions["test"].logits - theirs.predictions["test"].logits).max() < 1e-5
        assert FPTModelCard.load(ours.folder / "model.json").network.members == 2
        assert ours.best_epoch == theirs.best_epoch == 2


@pytest.mark.parametrize("ablation", ["mirrored_views", "original_images"])
def test_other_images_of_the_side_network_are_the_same_in_the_stack_and_in_the_bundle(
    ablation: str, overrides: dict[str, Any], toy_cache: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(toy_cache, tmp_path / "features")  # a cache of mirrored images comes beside it
    network = FPTConfig(backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, num_classes=2)
    arms, _ = ablation_arms(network, frozen_backbone(network), "float16")
    wanted = overrides | {"cache_dir": str(cache), "max_epochs": 2} | dict(arms[ablation].overrides)
    found = {}
    for engine in ("stack", "bundle"):
        other = wanted | {"run_dir": f"{overrides['run_dir']}_{engine}"}
        found[engine] = run_cross_validation(other, folds=2, engine=engine, quiet=True).runs
    plain = run_cross_validation(overrides | {"max_epochs": 2}, folds=2, engine="stack", quiet=True).runs

    assert {run.engine for run in found["stack"]} == {"stack"}
    for ours, theirs, without in zip(found["stack"], found["bundle"], plain, strict=True):
        assert np.abs(ours.predictions["test"].logits - theirs.predictions["test"].logits).max() < 1e-5
        assert np.abs(ours.predictions["test"].logits - without.predictions["test"].logits).max() > 1e-4
    assert (tmp_path / "features_mirrored").is_dir() == (ablation == "mirrored_views")


def test_no_image_is_read_again(overrides: dict[str, Any], no_reading: list[int]) -> None:
    run_cross_validation(overrides | {"max_epochs": 1}, folds=2, seeds=[0, 1], engine="stack", quiet=True)
    run_search(overrides | {"max_epochs": 1, "run_dir": f"{overrides['run_dir']}_search"}, trials=2, quiet=True)
    assert no_reading == []


def test_a_cache_that_is_empty_is_filled_once(overrides: dict[str, Any], tmp_path: Path, no_reading: list[int]) -> None:
    run_cross_validation(overrides | {"max_epochs": 1, "cache_dir": str(tmp_path / "new")}, folds=2, quiet=True)
    assert sum(no_reading) == ALL


def test_out_of_fold_predictions_hold_every_image_once(stacked: FPTCrossValidation) -> None:
    whole = FPTPredictions.load(stacked.folder / "out_of_fold_predictions.json")
    assert len(whole) == len(set(whole.keys)) == ALL
    for run in stacked.runs:
        trained = FPTDataList.load(run.folder / "data_list.json", overrides_root(run.folder))
        assert {item["key"] for item in trained.test} == set(run.predictions["test"].keys)
    assert (stacked.folder / "report_out_of_fold.html").is_file()
    table = json.loads((stacked.folder / "cross_validation.json").read_text())
    aucs = [run["test"]["auc"] for run in table["runs"]]
    assert table["mean"]["auc"] == pytest.approx(np.mean(aucs))
    assert table["standard_deviation_between_folds"]["auc"] == pytest.approx(np.std(aucs, ddof=1))


def overrides_root(folder: Path) -> Path:
    return Path(json.loads((folder / "config.json").read_text())["dataset_dir"])


def test_a_finished_cross_validation_is_not_repeated_nor_taken_for_another(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = overrides | {"max_epochs": 1}
    before = run_cross_validation(small, folds=2, quiet=True)
    monkeypatch.setattr("monai_fpt.experiments.runs.train_members", lambda *_, **__: pytest.fail("trained again"))
    assert str(run_cross_validation(small, folds=2, quiet=True)) == str(before)
    with pytest.raises(FileExistsError, match="learning_rate"):
        run_cross_validation(small | {"learning_rate": 0.1}, folds=2, quiet=True)
    with pytest.raises(FileExistsError, match="images and their sections"):
        run_cross_validation(small | {"split_seed": 3}, folds=2, quiet=True)


def test_what_the_stack_does_not_do_is_said_and_left_to_the_bundle(
    overrides: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = overrides | {"max_epochs": 1, "train#dataloader#persistent_workers": False}
    with pytest.raises(ValueError, match="persistent_workers"):
        run_cross_validation(sampled, folds=2, engine="stack", quiet=True)
    found = run_cross_validation(sampled, folds=2)
    assert {run.engine for run in found.runs} == {"bundle"}
    assert "persistent_workers" in capsys.readouterr().out


IGNORED = {
    "train#dataloader#drop_last": False,
    "train#dataloader#batch_size": 3,
    "train#dataset#data": "$@data.validation",
    "train#trainer#loss_function": "$torch.nn.CrossEntropyLoss(label_smoothing=0.5)",
    "train#trainer#max_epochs": 1,
    "train#trainer#amp": True,
    "validate#dataset#use_features": False,
    "validate#evaluator#metric_cmp_fn": "$lambda new, best: new >= best",
    "train#handlers#7#config_digest": "other",
    "loss_function": "$torch.nn.CrossEntropyLoss()",
    "optimizer#foreach": False,
}


@pytest.mark.parametrize("setting", IGNORED)
def test_a_setting_that_only_the_bundle_obeys_is_left_to_the_bundle(setting: str, overrides: dict[str, Any]) -> None:
    assert stack_refusal(train_parser(overrides)) == ""

    refusal = stack_refusal(train_parser(overrides | {setting: IGNORED[setting]}))

    assert setting.rpartition("#")[2] in refusal or setting.startswith("loss")


@pytest.mark.parametrize(
    "setting",
    [
        {"optimizer#betas": [0.5, 0.5]},
        {"train#handlers#2#max_norm": 0.5},
        {"train#preprocessing#transforms#0#brightness": 0.0},
        {
            "validate#key_metric": {
                "accuracy": {"_target_": "monai_fpt.handlers.FPTMetricHandler", "score": "accuracy", "task": "@task"}
            }
        },
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_setting_that_the_stack_reads_gives_what_the_bundle_gives(
    setting: dict[str, Any], overrides: dict[str, Any], stacked: FPTCrossValidation
) -> None:
    found = {}
    for engine in ("stack", "bundle"):
        other = overrides | setting | {"run_dir": f"{overrides['run_dir']}_{engine}"}
        found[engine] = run_cross_validation(other, folds=2, engine=engine, quiet=True).runs

    for ours, theirs in zip(found["stack"], found["bundle"], strict=True):
        assert ours.best_epoch == theirs.best_epoch
        assert np.abs(ours.predictions["test"].logits - theirs.predictions["test"].logits).max() < 1e-5


def test_the_best_of_a_search_over_features_is_tested_as_it_was_trained(overrides: dict[str, Any]) -> None:
    found = run_search(overrides | {"max_epochs": 1}, trials=1, space={"use_features": [False]}, quiet=True)

    card = FPTModelCard.load(found.folder / "best" / "model.json")
    assert not card.use_features
    tested = FPTPredictions.load(found.folder / "best" / "test_predictions.json")
    again = found.folder / "again"
    run_bundle(
        "evaluate",
        {
            **{name: overrides[name] for name in ("dataset_dir", "cache_dir", "device")},
            "run_dir": str(found.folder / "best"),
            "output_dir": str(again),
            "use_features": True,
            "report": False,
            "track": False,
        },
    )
    with_features = FPTPredictions.load(again / "test_predictions.json")
    assert np.abs(tested.logits - with_features.logits).max() > 1e-4


@pytest.mark.slow
def test_folds_are_runs_below_one_run(overrides: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    tracked = overrides | {"max_epochs": 2, "track": True, "system_metrics": False}
    found = run_cross_validation(tracked, folds=2, engine="stack", quiet=True)
    client = MlflowClient(f"sqlite:///{found.folder / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(runs) == 3 and len(children) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.metrics["out_of_fold/auc"] == pytest.approx(found.evaluations[0].scores["auc"].value)
    assert all(len(client.get_metric_history(run.info.run_id, "train_loss")) == 2 for run in children)
    assert {run.data.params["config.learning_rate"] for run in children} == {"0.005"}


def test_a_search_chooses_by_validation_and_tests_only_the_best(overrides: dict[str, Any]) -> None:
    found = run_search(overrides | {"max_epochs": 1}, trials=4, space=SPACE, at_once=2, quiet=True)
    assert len(found.trials) == 4
    assert found.best.score == max(trial.score for trial in found.trials)
    assert not list(found.folder.glob("trial_*/test_predictions.*"))
    data = FPTDataList.load(found.folder / "best" / "data_list.json", overrides["dataset_dir"])
    assert data.digest == FPTModelCard.load(found.folder / "best" / "model.json").data_digest
    tested = FPTPredictions.load(found.folder / "best" / "test_predictions.json")
    assert set(tested.keys) == {item["key"] for item in data.test}
    network = FPTClassifier(FPTModelCard.load(found.folder / "best" / "model.json").network)
    network.load_state_dict(torch.load(found.folder / "best" / "model.pt", weights_only=True))
    assert found.looks == 1
    values = {trial.values["class_weights"] for trial in found.trials}
    assert values <= {"equal", "balanced"}
    assert all(1e-4 <= trial.values["learning_rate"] <= 1e-2 for trial in found.trials)
    settings = json.loads((found.best.folders[0] / "config.json").read_text())
    assert settings["learning_rate"] == found.best.values["learning_rate"]


def test_a_stopped_search_goes_on_as_if_it_had_not_been_stopped(overrides: dict[str, Any], tmp_path: Path) -> None:
    small = overrides | {"max_epochs": 1}
    whole = run_search(small, trials=4, space=SPACE, at_once=2, test=False, quiet=True)
    other = small | {"run_dir": str(tmp_path / "stopped")}
    run_search(other, trials=2, space=SPACE, at_once=2, test=False, quiet=True)
    went_on = run_search(other, trials=4, space=SPACE, at_once=2, test=False, quiet=True)
    assert [trial.values for trial in went_on.trials] == [trial.values for trial in whole.trials]
    assert [trial.score for trial in went_on.trials] == pytest.approx([trial.score for trial in whole.trials])
    with pytest.raises(FileExistsError, match="other settings \\(space\\)"):
        run_search(other, trials=5, space={"learning_rate": [0.1]}, quiet=True)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "empty"),
        ({"seed": [1, 2]}, "cannot be searched"),
        ({"learning_rate": []}, "list of values"),
        ({"learning_rate": {"low": 0.0, "high": 1.0, "log": True}}, "list of values"),
        ({"learning_rate": {"low": 1, "high": 2, "lgo": True}}, "list of values"),
    ],
    ids=["empty", "seed", "no choice", "log of zero", "typing error"],
)
def test_a_space_that_cannot_be_searched_is_refused(
    overrides: dict[str, Any], space: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        run_search(overrides, space=space, quiet=True)


def test_what_needs_other_features_cannot_be_searched(overrides: dict[str, Any]) -> None:
    from monai_fpt.features import FeatureSpecMismatchError

    with pytest.raises(FeatureSpecMismatchError, match="importance"):
        run_search(overrides, trials=1, space={"network_config#importance": ["class_token"]}, quiet=True)


@pytest.mark.slow
def test_cross_validation_and_search_of_the_quickstart(tmp_path: Path) -> None:
    from monai_fpt.quickstart.images import generate_quickstart_images
    from monai_fpt.quickstart.run import quickstart_overrides

    generate_quickstart_images(tmp_path / "images", seed=0)
    recipe = quickstart_overrides(tmp_path) | {"run_dir": str(tmp_path / "cv"), "max_epochs": 8}
    found = run_cross_validation(recipe, folds=3)
    assert found.evaluations[0].scores["auc"].value > 0.8  # details of 512 px are seen
    searched = run_search(recipe | {"run_dir": str(tmp_path / "search"), "max_epochs": 4}, trials=3)
    assert searched.evaluation is not None
