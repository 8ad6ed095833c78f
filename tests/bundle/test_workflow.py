"""The bundle does what its README says: trains, tracks, resumes, evaluates, predicts, and refuses bad input in a
sentence.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_toys import CLASSES, draw_images, tiny_overrides
from mlflow import MlflowClient
from PIL import Image

from monai_fpt.bundle import run_bundle
from monai_fpt.features import FeatureStore, FPTModelCard
from monai_fpt.handlers import fpt_root_cause
from monai_fpt.networks import FPTClassifier


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sentence_of(action: Callable[[], Any]) -> str:
    """What a user reads when this fails."""
    with pytest.raises(Exception) as caught:
        action()
    cause = fpt_root_cause(caught.value)
    assert cause is not None, f"not a sentence of ours: {caught.value!r}"
    return str(cause)


def test_a_training_leaves_model_card_split_predictions_and_cache(trained: Path) -> None:
    state = torch.load(trained / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert not any("backbone.vit" in name for name in state)
    card = FPTModelCard.load(trained / "model.json")
    assert card.classes == CLASSES
    assert FeatureStore(trained / "features", card.features).verify() == []
    predictions = rows(trained / "test_predictions.csv")
    assert list(predictions[0]) == ["image", "label", "predicted", *CLASSES]
    assert sorted(row["image"] for row in predictions) == sorted(f"test/{c}/{i}.png" for c in CLASSES for i in range(6))
    assert all(math.isclose(sum(float(row[c]) for c in CLASSES), 1, abs_tol=1e-5) for row in predictions)


def test_a_training_is_tracked_from_settings_to_test_metrics_and_figures(trained: Path) -> None:
    client = MlflowClient(f"sqlite:///{trained / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED"
    for name in (
        "network.method",
        "network.token_ratio",
        "features_fingerprint",
        "split_digest",
        "config.learning_rate",
    ):
        assert name in run.data.params, name
    for name in ("train_loss", "lr", "val_auc", "test_auc", "test_kappa"):
        assert name in run.data.metrics, name
    assert len(client.get_metric_history(run.info.run_id, "val_auc")) == 3
    artifacts = {a.path for folder in ("", "figures") for a in client.list_artifacts(run.info.run_id, folder or None)}
    assert {"config.json", "model.pt", "model.json"} <= artifacts
    assert sum(name.endswith(".png") for name in artifacts) >= 2


def test_tracking_tells_no_folder_of_the_user(trained: Path, images: Path) -> None:
    client = MlflowClient(f"sqlite:///{trained / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    local = client.download_artifacts(run.info.run_id, "config.json")
    told = json.dumps(run.data.params) + Path(local).read_text(encoding="utf-8")
    assert str(images) not in told and str(trained) not in told


def test_evaluation_of_the_saved_model_repeats_the_training_s_test(trained: Path, images: Path) -> None:
    same = {"batch_size": 4}  # some processors round batches of another size differently
    run_bundle("evaluate", {"dataset_dir": str(images), "run_dir": str(trained), "device": "cpu", **same})
    assert rows(trained / "evaluation" / "test_predictions.csv") == rows(trained / "test_predictions.csv")


def test_prediction_without_cache_and_labels_agrees_with_the_cached_test(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "predictions.csv"
    overrides = {
        "dataset_dir": str(images / "test"),
        "run_dir": str(trained),
        "output_file": str(output),
        "device": "cpu",
    }
    run_bundle("predict", overrides)
    uncached = {row["image"]: row for row in rows(output)}
    assert list(next(iter(uncached.values()))) == ["image", "predicted", *CLASSES]
    for row in rows(trained / "test_predictions.csv"):
        other = uncached[row["image"].removeprefix("test/")]
        assert float(other["malignant"]) == pytest.approx(float(row["malignant"]), abs=2e-3)


def test_a_finished_training_is_not_written_over(trained: Path, images: Path) -> None:
    before = (trained / "model.pt").read_bytes()
    assert "holds a training already" in sentence_of(lambda: run_bundle("train", tiny_overrides(images, trained)))
    assert (trained / "model.pt").read_bytes() == before


def test_an_interrupted_training_goes_on_bit_equal(
    trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_fpt.handlers import FPTClassWeightHandler

    original = FPTClassWeightHandler.__call__

    def interrupt(self: Any, engine: Any) -> None:
        if engine.state.epoch == 3:
            raise KeyboardInterrupt
        original(self, engine)

    overrides = tiny_overrides(images, tmp_path / "run") | {"cache_dir": str(trained / "features")}
    with monkeypatch.context() as patch:
        patch.setattr(FPTClassWeightHandler, "__call__", interrupt)
        with pytest.raises(BaseException):  # noqa: B017
            run_bundle("train", overrides)
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    assert [run.info.status for run in client.search_runs(experiments)] == ["KILLED"]

    run_bundle("train", overrides | {"resume": True})
    straight, resumed = (
        torch.load(folder / "last.pt", weights_only=True)["network"] for folder in (trained, tmp_path / "run")
    )
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert rows(trained / "test_predictions.csv") == rows(tmp_path / "run" / "test_predictions.csv")


@pytest.mark.parametrize(
    ("override", "match"),
    [
        pytest.param({"dataset_dir": "/nowhere/at/all"}, "nowhere", id="missing folder"),
        pytest.param({"dataset_dir": None}, "neither dataset_dir nor data_list", id="no folder"),
        pytest.param({"method": "lora"}, "method='lora'", id="unknown method"),
        pytest.param({"image_size": 70}, "use 64 or 80", id="image size"),
        pytest.param(
            {"backbone": "resnet18", "network_config#backbone_kwargs": {}},
            "not a plain ViT",
            id="convolutional backbone",
        ),
        pytest.param({"backbone": "resnet18"}, "backbone_kwargs", id="arguments of another model"),
        pytest.param({"backbone": "vit_of_my_dreams"}, "not known to timm", id="unknown backbone"),
        pytest.param({"backbone_weights": "/no/such/file.safetensors"}, "no such file", id="missing weights"),
        pytest.param({"class_weights": "heavy"}, "class_weights='heavy'", id="class weights"),
        pytest.param({"learning_rates": 1}, 'no "learning_rates"', id="misspelt id"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_a_sentence(
    images: Path, tmp_path: Path, override: dict[str, Any], match: str
) -> None:
    overrides = tiny_overrides(images, tmp_path / "run") | override
    if "learning_rates" in override:
        with pytest.raises(ValueError, match=match):
            run_bundle("train", overrides)
    else:
        assert match in sentence_of(lambda: run_bundle("train", overrides))
    assert not (tmp_path / "run" / "model.pt").exists()


def test_a_cache_of_another_backbone_is_refused_and_left_alone(trained: Path, images: Path, tmp_path: Path) -> None:
    overrides = tiny_overrides(images, tmp_path / "run") | {
        "cache_dir": str(trained / "features"),
        "network_config#backbone_kwargs": {"depth": 4},
    }
    said = sentence_of(lambda: run_bundle("train", overrides))
    assert "backbone_fingerprint" in said and "Use another cache_dir" in said
    assert FeatureStore(trained / "features").verify() == []


def test_an_adapter_on_another_backbone_is_refused(trained: Path, images: Path, tmp_path: Path) -> None:
    card = FPTModelCard.load(trained / "model.json")
    wider = {**card.network.to_dict(), "norm_eps": 0.1, "backbone_kwargs": {"depth": 2, "init_values": 0.5}}
    network = FPTClassifier(wider)
    with pytest.raises(RuntimeError, match="trained on backbone"):
        network.load_state_dict(torch.load(trained / "model.pt", weights_only=True))


def test_an_unreadable_image_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    (images / "train" / "benign" / "0.png").write_bytes(b"no image")
    overrides = tiny_overrides(images, tmp_path / "run") | {"max_epochs": 1, "track": False}
    said = sentence_of(lambda: run_bundle("train", overrides))
    assert "train/benign/0.png" in said and "skip_unreadable" in said
    workflow = run_bundle("train", overrides | {"skip_unreadable": True})
    assert len(workflow.parser.get_parsed_content("train#dataset")) == 15


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    for path in (images / "train" / "benign").iterdir():
        path.unlink()
    assert "benign" in sentence_of(lambda: run_bundle("train", tiny_overrides(images, tmp_path / "run")))


def test_a_label_outside_the_classes_of_the_model_is_named(trained: Path, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    pd.DataFrame(
        {"image": ["test/benign/0.png", "test/malignant/0.png"], "label": ["benign", "unheard of"], "split": "test"}
    ).to_csv(table, index=False)
    overrides = {
        "dataset_dir": str(images),
        "data_list": str(table),
        "run_dir": str(trained),
        "device": "cpu",
        "track": False,
    }
    assert "unheard of" in sentence_of(lambda: run_bundle("evaluate", overrides))


def test_fewer_images_than_a_batch_still_train(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", {"train": 2, "val": 2, "test": 2})
    run_bundle("train", tiny_overrides(images, tmp_path / "run") | {"batch_size": 64, "max_epochs": 1, "track": False})
    assert (tmp_path / "run" / "model.pt").exists()


def test_a_validation_of_one_class_still_leaves_a_model(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    table = [
        {"image": p.relative_to(images).as_posix(), "label": p.parent.name, "split": p.parent.parent.name}
        for p in images.rglob("*.png")
    ]
    frame = pd.DataFrame([row for row in table if not (row["split"] == "val" and row["label"] == "malignant")])
    frame.to_csv(tmp_path / "labels.csv", index=False)
    overrides = tiny_overrides(images, tmp_path / "run") | {
        "data_list": str(tmp_path / "labels.csv"),
        "max_epochs": 2,
        "track": False,
    }
    run_bundle("train", overrides)
    assert (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize(
    "settings", [{"method": "fpt"}, {"feature_dtype": "int8"}, {"class_weights": "decaying"}], ids=str
)
def test_the_options_train(images: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    run_bundle("train", tiny_overrides(images, tmp_path / "run") | {"max_epochs": 1, "track": False} | settings)
    assert (tmp_path / "run" / "test_predictions.csv").exists()


def test_mixed_precision_that_would_silently_not_happen_is_refused(images: Path, tmp_path: Path) -> None:
    sentence = sentence_of(lambda: run_bundle("train", tiny_overrides(images, tmp_path / "run") | {"amp": True}))

    assert sentence.startswith("amp is on, but the device is cpu")


def test_several_labels_per_image_train_with_sigmoids(images: Path, tmp_path: Path) -> None:
    table = [
        {
            "image": p.relative_to(images).as_posix(),
            "split": p.parent.parent.name,
            "bright": int(p.parent.name == "malignant"),
            "even": int(p.stem) % 2,
        }
        for p in images.rglob("*.png")
    ]
    pd.DataFrame(table).to_csv(tmp_path / "labels.csv", index=False)
    overrides = tiny_overrides(images, tmp_path / "run") | {
        "data_list": str(tmp_path / "labels.csv"),
        "data#label_columns": ["bright", "even"],
        "max_epochs": 1,
        "track": False,
    }
    workflow = run_bundle("train", overrides)
    assert FPTModelCard.load(tmp_path / "run" / "model.json").task == "multilabel"
    assert "auc" in workflow.parser.get_parsed_content("test#evaluator").state.metrics


def test_learning_reaches_a_plain_difference(images: Path, tmp_path: Path) -> None:
    workflow = run_bundle("train", tiny_overrides(images, tmp_path / "run") | {"max_epochs": 12, "track": False})
    assert workflow.parser.get_parsed_content("test#evaluator").state.metrics["auc"] > 0.9


def test_training_never_opens_an_image_again(
    trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    overrides = tiny_overrides(images, tmp_path / "run") | {
        "cache_dir": str(trained / "features"),
        "max_epochs": 1,
        "track": False,
    }
    run_bundle("train", overrides)
    assert np.isfinite(torch.load(tmp_path / "run" / "model.pt", weights_only=True)["side.head.weight"].numpy()).all()


@pytest.mark.slow
def test_monai_s_own_tracking_runs_beside_ours(images: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    from monai_fpt.bundle import bundle_config

    run_dir = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(bundle_config("train"))),
        *("--tracking", "mlflow", "--dataset_dir", str(images), "--run_dir", str(run_dir)),
        *(
            "--backbone",
            "vit_tiny_patch16_224",
            "--backbone_weights",
            "random",
            "--image_size",
            "64",
            "--max_epochs",
            "1",
        ),
        *("--network_config#side_size", "32", "--network_config#backbone_kwargs", "{'depth': 2}", "--batch_size", "4"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.glob("*.db")), "MONAI's handler wrote into the current folder"
    client = MlflowClient(f"sqlite:///{run_dir / 'mlflow.db'}")

    def runs_of(experiment: str) -> list[Any]:
        found = client.get_experiment_by_name(experiment)
        assert found is not None, experiment
        return list(client.search_runs([found.experiment_id]))

    (stock,) = runs_of("monai_experiment")
    assert "train_loss" in stock.data.metrics and "test_auc" not in stock.data.metrics
    (run,) = runs_of("monai_fpt")
    assert run.info.status == "FINISHED" and "test_auc" in run.data.metrics
