"""A trained run becomes one version, whole or not at all, and comes back as the same network in another process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from registry_toys import CLASSES, CONFIG, copied_run, drawn_predictions, untrained_run, weights_of, with_weights_file
from sklearn.metrics import roc_auc_score

from monai_fpt.handlers import FPTTrackedRun, FPTTracker
from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.networks import BackboneMismatchError
from monai_fpt.registry import FPTPackageError, FPTPredictor, fetch_package, load_registered, register_model


@pytest.fixture(scope="module")
def registered(toy_run: Path, store: str) -> Any:
    return register_model(toy_run, "toy", tracking_uri=store, tags={"ward": "dermatology"})


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


def test_the_version_says_what_it_is(registered: Any, client: MlflowClient, toy_run: Path) -> None:
    tested = FPTPredictions.load(toy_run / "test_predictions.json")
    auc = roc_auc_score(tested.labels, tested.logits[:, 1] - tested.logits[:, 0])
    version = client.get_model_version_by_alias("toy", "challenger")
    assert registered.created and registered.uri == f"models:/toy/{version.version}"
    tags = version.tags
    assert tags["fpt.digest"] == registered.digest and tags["ward"] == "dermatology"
    assert tags["fpt.classes"] == "benign, malignant" and tags["fpt.backbone_stored"] == "no"
    assert tags["test.auc"].startswith(f"{auc:.3f}")
    assert version.description.startswith("# Classification: benign, malignant")
    model = client.get_logged_model(registered.model_id)
    assert str(model.status) == "READY" and model.params["backbone"] == "vit_tiny_patch16_224"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "toy", "version": int(version.version)}]


def test_the_same_run_is_registered_once(registered: Any, toy_run: Path, store: str, client: MlflowClient) -> None:
    again = register_model(toy_run, "toy", tracking_uri=store, alias="again")
    assert (again.version, again.created, again.model_id) == (registered.version, False, registered.model_id)
    assert str(client.get_model_version_by_alias("toy", "again").version) == registered.version
    assert len(client.search_model_versions("name='toy'")) == 1


def test_it_comes_back_as_the_same_network(registered: Any, toy_run: Path, toy_images: Path, store: str) -> None:
    loaded, trained = load_registered("models:/toy@challenger", tracking_uri=store), FPTPredictor.from_folder(toy_run)
    images = torch.stack([trained.prepare(file) for file in sorted(toy_images.glob("*.png"))])
    assert torch.equal(loaded.logits(images), trained.logits(images))
    assert loaded.calibration == trained.calibration and loaded.card.classes == CLASSES


FRESH = textwrap.dedent(
    """
    import sys
    import torch
    torch.set_num_threads(1)
    from monai_fpt.registry import load_registered
    predictor = load_registered("models:/toy@challenger")
    images = torch.stack([predictor.prepare(file) for file in sys.argv[2:]])
    torch.save(predictor.logits(images), sys.argv[1])
    """
)


@pytest.mark.slow
def test_a_fresh_process_gives_exactly_the_logits_of_this_one(
    registered: Any, toy_run: Path, toy_images: Path, store: str, tmp_path: Path
) -> None:
    files = [str(file) for file in sorted(toy_images.glob("*.png"))]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path / "logits.pt", *files], env=environment, check=True, cwd=tmp_path
    )
    trained = FPTPredictor.from_folder(toy_run)
    wanted = trained.logits(torch.stack([trained.prepare(file) for file in files]))
    assert torch.equal(torch.load(tmp_path / "logits.pt", weights_only=True), wanted)
    assert {path.name for path in tmp_path.iterdir()} == {"logits.pt"}  # no database in the working directory


def test_mlflow_loads_it_by_its_alias(registered: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    model = mlflow.pyfunc.load_model("models:/toy@challenger")
    assert model.predict(model.input_example)[0]["status"] == "ok"
    assert model.metadata.metadata["fpt_digest"] == registered.digest


def test_the_state_of_mlflow_in_this_process_is_left_alone(
    registered: Any, toy_run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri(), dict(os.environ)
    register_model(copied_run(toy_run, tmp_path / "run", drawn_predictions(1.0)), "untouched", tracking_uri=store)
    assert mlflow.active_run() is None and mlflow.get_tracking_uri() == before[0]
    changed = {name for name in os.environ if os.environ[name] != before[1].get(name)}
    assert changed <= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- what fails


GONE = RuntimeError("the server is gone")
STEPS = {
    "log_model_artifacts": GONE,
    "finalize_logged_model": GONE,
    "create_registered_model": GONE,
    "create_model_version": KeyboardInterrupt(),
}


@pytest.mark.parametrize(("step", "error"), STEPS.items(), ids=STEPS)
def test_a_failed_registration_leaves_nothing_and_moves_no_alias(
    registered: Any,
    store: str,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Any,
) -> None:
    untouched = snapshot(client)
    monkeypatch.setattr("monai_fpt.registry.register.require_answer", lambda *_: None)  # quicker
    monkeypatch.setattr(MlflowClient, step, lambda *_, **__: (_ for _ in ()).throw(error))
    run = untrained_run(tmp_path / "run")
    for name in ("toy", "fresh"):
        with pytest.raises(type(error)):
            register_model(run, name, tracking_uri=store)
    monkeypatch.undo()
    assert snapshot(client) == untouched


def snapshot(client: MlflowClient) -> Any:
    """Names, aliases, versions and logged models of the registry."""
    experiment = client.get_experiment_by_name("monai_fpt")
    assert experiment is not None
    return (
        sorted((model.name, str(sorted(model.aliases.items()))) for model in client.search_registered_models()),
        sorted((version.name, version.version) for version in client.search_model_versions()),
        sorted(model.model_id for model in client.search_logged_models([experiment.experiment_id])),
    )


def test_a_model_that_does_not_answer_is_not_registered(
    registered: Any, store: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = snapshot(client)
    monkeypatch.setattr("monai_fpt.registry.serving.FPTPredictor.logits", lambda *_: torch.full((1, 2), float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        register_model(untrained_run(tmp_path / "run"), "toy", tracking_uri=store)
    monkeypatch.undo()
    assert snapshot(client) == untouched


def test_without_an_address_the_store_of_the_training_is_taken(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = copied_run(toy_run, tmp_path / "run", drawn_predictions(1.0))
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    tracker = FPTTracker(run, tracking_uri=elsewhere, system_metrics=False)
    tracker.log_metrics({"loss": 1.0})
    tracker.close()

    registered = register_model(run, "where-it-was-trained")

    assert MlflowClient(elsewhere).get_model_version("where-it-was-trained", registered.version)
    assert not (run / "mlflow.db").exists()


def test_a_store_whose_password_is_not_recorded_is_asked_for(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = copied_run(toy_run, tmp_path / "run", drawn_predictions(1.0))
    hidden = FPTTrackedRun(None, "http://***@host:5000", "monai_fpt", "run", "key")
    monkeypatch.setattr("monai_fpt.registry.register.tracked_run", lambda folder: hidden)

    with pytest.raises(
        ValueError, match=r"tracked at http://\*\*\*@host:5000, whose password is not recorded; give tracking_uri"
    ):
        register_model(run, "toy")


def test_champion_is_not_for_registration(toy_run: Path, store: str) -> None:
    with pytest.raises(ValueError, match="by promotion only"):
        register_model(toy_run, "toy", tracking_uri=store, alias="champion")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", "a@champion", " a"])
def test_a_name_that_an_address_cannot_hold_is_refused(toy_run: Path, store: str, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a model"):
        register_model(toy_run, name, tracking_uri=store)


def test_a_model_of_many_findings_fits_into_a_database_s_columns(
    store: str, client: MlflowClient, tmp_path: Path
) -> None:
    classes = tuple(f"finding number {number}" for number in range(60))
    config = dataclasses.replace(CONFIG, num_classes=60)
    run = untrained_run(tmp_path / "run", config, classes=classes, task="multilabel")
    thresholds = {f"{name}/{rule}": 0.5 for name in classes for rule in ("youden", "sensitivity_0.90")}
    fitted = FPTCalibration(1.0, thresholds, classes=classes, task="multilabel", weights_sha256=weights_of(run))
    fitted.save(run / "calibration.json")
    made = register_model(run, "many.findings 2", tracking_uri=store)
    version = client.get_model_version(made.name, made.version)
    assert len(version.description) <= 5000 and "the whole card is artifacts/fpt/README.md" in version.description
    assert all(len(value) <= 5000 for value in version.tags.values())
    assert load_registered("models:/many.findings 2@challenger", tracking_uri=store).card.classes == classes


def test_a_folder_is_no_registry(toy_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MLflow keeps no runs in folders"):
        register_model(toy_run, "toy", tracking_uri=str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("models:/toy@nobody", 'no model "toy" with alias "nobody"'),
        ("models:/toy/99", 'no model "toy" with version 99'),
        ("models:/nothing@champion", 'no model "nothing"'),
        ("toy@champion", "names no registered model"),
        ("models:/toy/Production", "names no registered model"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(registered: Any, store: str, uri: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_registered(uri, tracking_uri=store)


def test_no_registry_is_asked_for() -> None:
    with pytest.raises(ValueError, match="No registry is named"):
        load_registered("models:/toy@champion")


def stored_files(client: MlflowClient, registered: Any) -> Path:
    location = client.get_model_version_download_uri(registered.name, registered.version)
    return Path(location.removeprefix("file://")) / "artifacts" / "fpt"


def test_a_model_that_was_changed_in_the_store_is_refused(store: str, client: MlflowClient, tmp_path: Path) -> None:
    made = register_model(untrained_run(tmp_path / "run"), "changed", tracking_uri=store)
    card = stored_files(client, made) / "model.json"
    card.write_text(card.read_text(encoding="utf-8").replace("benign", "healthy"), encoding="utf-8")
    with pytest.raises(FPTPackageError, match="changed after it was packed"):
        load_registered(made.uri, tracking_uri=store)
    client.set_model_version_tag("changed", made.version, "fpt.digest", "0" * 64)
    card.write_text(card.read_text(encoding="utf-8").replace("healthy", "benign"), encoding="utf-8")
    with pytest.raises(FPTPackageError, match="is not what was registered"):
        load_registered(made.uri, tracking_uri=store)
    client.delete_model_version_tag("changed", made.version, "fpt.digest")
    with pytest.raises(FPTPackageError, match="was not registered by monai-fpt"):
        fetch_package(made.uri, tmp_path / "copy", tracking_uri=store)


def test_a_backbone_that_changed_or_went_is_refused(store: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "vit.safetensors"
    made = register_model(with_weights_file(tmp_path / "run", weights), "filed", tracking_uri=store)
    assert load_registered(made.uri, tracking_uri=store, backbone_weights=weights.parent)
    with pytest.raises(FileNotFoundError, match="MONAI_FPT_BACKBONE"):
        load_registered(made.uri, tracking_uri=store)
    with_weights_file(tmp_path / "other", weights, seed=5)
    with pytest.raises(BackboneMismatchError):
        load_registered(made.uri, tracking_uri=store, backbone_weights=weights)


def test_an_embedded_backbone_is_stored_and_needs_nothing(store: str, client: MlflowClient, tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    run = with_weights_file(tmp_path / "run", weights)
    made = register_model(run, "embedded", tracking_uri=store, embed_backbone=True)
    weights.unlink()
    assert load_registered(made.uri, tracking_uri=store)
    assert client.get_model_version("embedded", made.version).tags["fpt.backbone_stored"] == "yes"


def test_a_tracked_training_is_linked_and_gets_the_scores(
    store: str, client: MlflowClient, toy_run: Path, tmp_path: Path
) -> None:
    from monai_fpt.handlers import FPTTracker

    tracker = FPTTracker(tmp_path / "run", tracking_uri=store, experiment="training")
    tracker.start()
    tracker.close()
    run = tmp_path / "run"
    for path in toy_run.iterdir():
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    made = register_model(run, "linked", tracking_uri=store)
    version = client.get_model_version("linked", made.version)
    model = client.get_logged_model(made.model_id)
    assert version.run_id == tracker.run_id == model.source_run_id
    assert {metric.key for metric in model.metrics} >= {"test_auc", "test_accuracy"}
    report = fetch_package(made.uri, tmp_path / "copy", tracking_uri=store).report
    assert report is not None
    auc = next(metric.value for metric in model.metrics if metric.key == "test_auc")
    assert np.isclose(auc, report["scores"]["auc"]["value"])


def test_a_version_that_the_registry_did_not_finish_is_taken_back(
    registered: Any, store: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = snapshot(client)
    made = MlflowClient.create_model_version

    def unfinished(*arguments: Any, **options: Any) -> Any:
        version = made(*arguments, **options)
        version._status = "FAILED_REGISTRATION"
        return version

    monkeypatch.setattr(MlflowClient, "create_model_version", unfinished)
    with pytest.raises(RuntimeError, match="did not make a version"):
        register_model(untrained_run(tmp_path / "run"), "toy", tracking_uri=store)
    assert snapshot(client) == untouched


# --- at the same time, and afterwards


def test_two_that_register_the_same_at_the_same_time_make_one_version(
    store: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_fpt.registry.register.require_answer", lambda *_: None)  # quicker
    runs = [with_weights_file(tmp_path / name, tmp_path / "vit.safetensors") for name in ("a", "b")]
    packed = Barrier(2)
    made = MlflowClient.create_logged_model

    def together(*arguments: Any, **options: Any) -> Any:
        packed.wait(60)  # neither has seen a version of the other
        return made(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_logged_model", together)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda run: register_model(run, "raced", tracking_uri=store), runs))
    assert sorted(one.created for one in found) == [False, True] and len({one.version for one in found}) == 1
    assert [version.version for version in client.search_model_versions("name='raced'")] == [int(found[0].version)]
    experiment = client.get_experiment_by_name("monai_fpt")
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id], filter_string="name = 'raced'")
    assert [model.model_id for model in models] == [found[0].model_id] == [found[1].model_id]


def tracked_copy(toy_run: Path, run: Path, store: str) -> str:
    """A copy of a run that was tracked in this store; the id there."""
    from monai_fpt.handlers import FPTTracker

    tracker = FPTTracker(run, tracking_uri=store, experiment="training")
    tracker.start()
    tracker.close()
    for path in toy_run.iterdir():
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    return str(tracker.run_id)


def test_a_failed_registration_leaves_no_scores_on_the_training_s_run(
    store: str, client: MlflowClient, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracked_copy(toy_run, tmp_path / "run", store)
    monkeypatch.setattr(MlflowClient, "create_model_version", lambda *_, **__: (_ for _ in ()).throw(GONE))
    with pytest.raises(RuntimeError, match="server is gone"):
        register_model(tmp_path / "run", "scoreless", tracking_uri=store)
    assert not [name for name in client.get_run(run_id).data.metrics if name.startswith("test_")]


def test_scores_that_cannot_be_written_cost_a_warning_and_not_the_version(
    store: str, client: MlflowClient, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked_copy(toy_run, tmp_path / "run", store)
    monkeypatch.setattr(MlflowClient, "log_metric", lambda *_, **__: (_ for _ in ()).throw(GONE))
    with pytest.warns(UserWarning, match="The model is registered, but its scores could not be written"):
        made = register_model(tmp_path / "run", "scored later", tracking_uri=store)
    assert made.created and str(client.get_model_version_by_alias("scored later", "challenger").version) == made.version
