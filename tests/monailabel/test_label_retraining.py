"""From labels to a published model, or to a sentence."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from label_toys import CLASSES, draw_studies

from monai_fpt._files import file_sha256
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.training import FPTRetrainer
from monai_fpt.monailabel.training_before import keep_learned, learned_before
from monai_fpt.monailabel.training_fit import FPTFitOptions
from monai_fpt.monailabel.training_options import FPTRetrainOptions
from monai_fpt.monailabel.training_publish import publish_model
from monai_fpt.monailabel.training_split import hashed_section, split_labels

QUICK = FPTRetrainOptions(fit=FPTFitOptions(max_epochs=6, min_steps=0, batch_size=8), min_labels=3, val_fraction=0.3)
COUNT = 30


@pytest.fixture(scope="module")
def filled(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Studies, and an app's folder whose cache has their features."""
    folder = tmp_path_factory.mktemp("filled")
    studies = draw_studies(folder / "studies", COUNT)
    shutil.copytree(toy_model, folder / "app" / "model")
    model = PresentModel(folder / "app" / "model", folder / "app" / "cache")
    assert model.features.ensure_all((item["key"], item["image"]) for item in labels_of(studies)) == {}
    model.features.close()
    return studies, folder / "app"


def labels_of(studies: Path) -> list[dict[str, Any]]:
    """Right labels of all drawn images: every second is bright, which is class 1."""
    files = sorted(p for p in studies.rglob("*") if p.is_file())
    number = lambda path: int(path.stem.removeprefix("img"))  # noqa: E731
    return [
        {
            "key": p.relative_to(studies).as_posix(),
            "image": str(p),
            "label": number(p) % 2,
            "group": f"Muster-{number(p)}",
        }
        for p in files
    ]


@pytest.fixture
def retrainer(filled: tuple[Path, Path], tmp_path: Path) -> FPTRetrainer:
    shutil.copytree(filled[1], tmp_path / "app")
    return FPTRetrainer(PresentModel(tmp_path / "app" / "model", tmp_path / "app" / "cache"), track=False)


def test_labels_make_a_better_model_which_answers_at_once(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    items, model = labels_of(filled[0]), retrainer.model
    before = dict(model.predictor.network.state_dict())
    epochs: list[int] = []

    outcome = retrainer.retrain(items, QUICK, on_epoch=lambda epoch, loss: epochs.append(epoch))

    assert outcome.published and outcome.version == 1, outcome.message
    assert outcome.message.startswith("Version 1 is published: auc ")
    assert outcome.challenger is not None and outcome.present is not None and outcome.challenger >= outcome.present
    assert (outcome.training_images + outcome.validation_images, dict(outcome.labels)) == (
        COUNT,
        dict.fromkeys(CLASSES, COUNT // 2),
    )
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert model.predictor.network is not None and model.version == 1
    assert model.card.features == model.features.spec
    assert not torch.equal(before["side.head.weight"], model.predictor.network.state_dict()["side.head.weight"])
    stats = retrainer.stats.read()
    assert (stats["epoch"], stats["total_epochs"], stats["best_metric"]) == (6, 6, outcome.challenger)
    assert stats["better_in"] == pytest.approx(outcome.better_in, abs=1e-3) and outcome.better_in >= 0.8
    assert f"better in {outcome.better_in:.0%} of 1,000 resamples of them" in outcome.message


def test_a_model_that_is_as_good_does_not_take_the_place(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    items = labels_of(filled[0])
    options = FPTRetrainOptions(
        fit=FPTFitOptions(max_epochs=20, min_steps=0, batch_size=8), min_labels=3, val_fraction=0.3
    )
    first, second = retrainer.retrain(items, options), retrainer.retrain(items, options)

    assert first.published and first.challenger == second.challenger == second.present == 1.0
    assert not second.published and second.better_in == 0 and second.version == 1


def test_a_slip_in_the_patients_is_mended_without_a_trace(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    """One patient for all: nobody judges, nothing is learned. Then the right ones."""
    items = labels_of(filled[0])
    learner = next(f"{n}" for n in range(99) if hashed_section(f"group:{n}", 0.3) == "training")

    slip = retrainer.retrain([{**item, "group": learner} for item in items], QUICK)
    right = retrainer.retrain(items, QUICK)

    assert not slip.published and slip.validation_images == 0 and "label more and train again" in slip.message
    assert right.published and right.validation_images > 0 and right.not_judging == 0


def test_training_images_of_the_run_that_the_app_began_with_never_judge(
    filled: tuple[Path, Path], retrainer: FPTRetrainer
) -> None:
    items = labels_of(filled[0])
    judges = [item["key"] for item in items if hashed_section(f"group:{item['group']}", 0.3) == "validation"]
    learned = {"keys": judges[:1], "groups": [], "contents": ["abc"]}
    (retrainer.model.model_dir / "learned_before.json").write_text(json.dumps(learned))
    items = [{**item, "sha256": "abc"} if item["key"] == judges[1] else item for item in items]

    outcome = retrainer.retrain(items, QUICK)

    assert outcome.validation_images == len(judges) - 2 and outcome.not_judging == 2
    assert "2 images do not judge, as a model has learned from them" in outcome.message


def test_the_training_images_of_a_run_are_known_by_content_where_its_cache_is_there(
    filled: tuple[Path, Path], tmp_path: Path
) -> None:
    items = labels_of(filled[0])
    shutil.copytree(filled[1] / "cache", tmp_path / "run" / "features")
    rows = [{"key": item["key"], "label": 0} for item in (*items[:2], {"key": "uncached.png"})]
    (tmp_path / "run" / "data_list.json").write_text(json.dumps({"training": rows}))

    keep_learned(tmp_path / "run", tmp_path / "model")

    learned = learned_before(tmp_path / "model")
    assert set(learned.contents) == {file_sha256(item["image"]) for item in items[:2]}
    assert learned.keys == {"uncached.png": "training"}
    renamed = [{"key": f"new{n}.png", "label": 0, "sha256": file_sha256(item["image"])} for n, item in enumerate(items)]
    assert {"new0.png", "new1.png"} <= {item["key"] for item in split_labels(renamed, 0.9, learned).training}


def test_a_training_that_was_killed_is_closed(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    items = labels_of(filled[0])
    retrainer.history.began("killed", items, {}, CLASSES)
    retrainer.stats.began("killed", 5)

    retrainer.close_killed()

    assert retrainer.history.unfinished() == []
    assert retrainer.history.lines()[-1]["message"] == "The training was stopped; the present model stays."
    assert retrainer.stats.read()["status"] == "ended"


def test_validation_is_the_same_patients_at_every_training(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    items = labels_of(filled[0])
    for count in (20, COUNT):
        retrainer.retrain(items[:count], QUICK)

    for _, table in retrainer.history.tables():
        assert {row["section"] for row in table} == {"training", "validation"}
        assert all(row["section"] == hashed_section(f"group:{row['group']}", 0.3) for row in table)


def test_wrong_labels_do_not_replace_a_good_model(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    """Training labels turned round, validation labels right: what is learned is worse on images that it did not learn from."""
    items = labels_of(filled[0])
    options = FPTRetrainOptions(
        fit=FPTFitOptions(max_epochs=20, min_steps=0, batch_size=8), min_labels=3, val_fraction=0.3
    )
    assert retrainer.retrain(items, options).published
    weights = (retrainer.model.model_dir / "versions/1/model.pt").read_bytes()
    spoiled = [
        item if hashed_section(f"group:{item['group']}", 0.3) == "validation" else {**item, "label": 1 - item["label"]}
        for item in items
    ]

    outcome = retrainer.retrain(spoiled, options)

    assert not outcome.published and outcome.version == 1
    assert outcome.message.startswith("The new model is not shown to be better and the present one stays: auc ")
    assert "resamples of them, and 80% are needed" in outcome.message
    assert (retrainer.model.model_dir / "current").read_text() == "1\n"
    assert (retrainer.model.model_dir / "versions/1/model.pt").read_bytes() == weights


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (lambda items: [], "No image has a label yet"),
        (lambda items: [i for i in items if i["label"] == 0], "'malignant' has 0"),
        (lambda items: items[:4], "Training needs 3 labels of each class"),
    ],
    ids=["none", "one class", "few"],
)
def test_too_few_labels_are_a_sentence_and_nothing_changes(
    filled: tuple[Path, Path], retrainer: FPTRetrainer, chosen: Any, told: str
) -> None:
    outcome = retrainer.retrain(chosen(labels_of(filled[0])), QUICK)

    assert not outcome.published and told in outcome.message
    assert outcome.version == 0
    assert not (retrainer.model.model_dir / "current").exists()
    assert json.loads(json.dumps(outcome.to_dict()))["message"] == outcome.message


def test_the_first_model_needs_no_other_to_compare_with(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    (retrainer.model.model_dir / "model.pt").unlink()
    beginning = PresentModel(retrainer.model.model_dir, retrainer.model.features.store.path)

    outcome = FPTRetrainer(beginning, track=False).retrain(labels_of(filled[0]), QUICK)

    assert outcome.published and outcome.start == "anew" and outcome.present is None
    assert outcome.message.startswith("Version 1 is the first model; its auc on ")


def test_a_second_training_at_the_same_time_is_refused(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    with FileLock(retrainer.model.model_dir / ".training.lock"):
        outcome = retrainer.retrain(labels_of(filled[0]), QUICK)

    assert not outcome.published and "is under way" in outcome.message


def test_a_cancelled_training_publishes_nothing_and_the_next_one_works(
    filled: tuple[Path, Path], retrainer: FPTRetrainer
) -> None:
    items = labels_of(filled[0])

    outcome = retrainer.retrain(items, QUICK, on_epoch=lambda epoch, loss: retrainer.cancel())

    assert not outcome.published and outcome.message == "The training was cancelled; the present model stays."
    assert not (retrainer.model.model_dir / "current").exists()
    assert retrainer.history.lines()[-1]["message"] == outcome.message
    assert retrainer.retrain(items, QUICK).published


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_trained_on(
    filled: tuple[Path, Path], retrainer: FPTRetrainer, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = {"key": "broken.png", "image": str(tmp_path / "broken.png"), "label": 0}

    outcome = retrainer.retrain([*labels_of(filled[0]), broken], QUICK, {"odd.png": "its label says nothing"})

    assert outcome.published
    assert set(outcome.refused) == {"broken.png", "odd.png"}
    assert outcome.training_images + outcome.validation_images == COUNT


def test_a_training_that_fails_leaves_the_present_model_and_no_lock(
    filled: tuple[Path, Path], retrainer: FPTRetrainer
) -> None:
    wild = FPTRetrainOptions(
        fit=FPTFitOptions(max_epochs=30, min_steps=0, learning_rate=1e30, clip_norm=1e30),
        min_labels=3,
        val_fraction=0.3,
    )
    with pytest.raises(ValueError, match="choose a smaller learning_rate"):
        retrainer.retrain(labels_of(filled[0]), wild)

    assert not (retrainer.model.model_dir / "current").exists()
    assert retrainer.stats.read()["message"].startswith("The training failed")
    assert retrainer.retrain(labels_of(filled[0]), QUICK).published


def test_readers_get_answers_while_a_training_is_under_way(filled: tuple[Path, Path], retrainer: FPTRetrainer) -> None:
    items, model = labels_of(filled[0]), retrainer.model
    ended: list[Any] = []
    long = FPTRetrainOptions(
        fit=FPTFitOptions(max_epochs=25, min_steps=0, batch_size=8), min_labels=3, val_fraction=0.3
    )
    thread = threading.Thread(target=lambda: ended.append(retrainer.retrain(items, long)))
    thread.start()
    answers = 0
    while thread.is_alive():
        answer = model.answer(model.study(items[0]["key"], items[0]["image"]))
        assert sum(answer.probabilities) == pytest.approx(1)
        answers += 1
    thread.join()

    assert answers > 1
    assert ended[0].published and model.predictor is not None and model.version == 1


def test_readers_go_on_with_the_model_before_while_another_is_loaded(
    retrainer: FPTRetrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = retrainer.model
    publish_model(model.model_dir, model.predictor.network, model.card)
    load, loading, loaded = model._load, threading.Event(), threading.Event()
    (model.model_dir / "current").write_text("0\n")

    def slowly(number: int) -> Any:
        loading.set()
        assert loaded.wait(30)
        return load(number)

    monkeypatch.setattr(model, "_load", slowly)
    model.present()
    (model.model_dir / "current").write_text("1\n")
    first = threading.Thread(target=model.present)
    first.start()
    assert loading.wait(30)

    assert model.present().number == 0  # and does not wait
    loaded.set()
    assert model.follow().number == 1
    first.join()


@pytest.mark.slow
def test_mlflow_is_told_numbers_and_no_name_or_path(
    filled: tuple[Path, Path], retrainer: FPTRetrainer, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracked = FPTRetrainer(retrainer.model, tracking_uri=uri)
    items = [{**item, "annotator": "Dr. Geheim"} for item in labels_of(filled[0])]

    outcome = tracked.retrain(items, QUICK, {"Muster-77.png": "label of /private/Muster-77.json says nothing"})

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("monai_fpt_label")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == outcome.training
    assert run.data.metrics["val_auc"] == pytest.approx(outcome.challenger)
    assert (run.data.params["training_images"], run.data.params["refused"]) == (str(outcome.training_images), "1")
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 6
    everything = json.dumps([run.data.params, run.data.metrics, run.data.tags])
    for private in ("Muster", "Geheim", "img0", "/private"):
        assert private not in everything
    assert [k for k, v in run.data.params.items() if str(tmp_path) in v] == []
    tracked.retrain(items, QUICK, on_epoch=lambda epoch, loss: tracked.cancel())
    assert {r.info.status for r in client.search_runs([experiment.experiment_id])} == {"FINISHED", "KILLED"}
