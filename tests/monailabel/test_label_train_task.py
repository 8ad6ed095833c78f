"""The trainer as MONAI Label asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from label_toys import draw_studies, label_file

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

import shutil

from monai_fpt.monailabel.datastore import FPTDatastore
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.training import FPTRetrainer
from monai_fpt.monailabel.training_split import hashed_section
from monai_fpt.monailabel.training_task import FPTTrainTask

SENT = {"model": "fpt", "max_epochs": 6, "min_steps": 0, "batch_size": 8, "min_labels": 3, "gpus": "all"}


@pytest.fixture
def app(toy_model: Path, tmp_path: Path) -> tuple[FPTTrainTask, FPTDatastore]:
    studies = draw_studies(tmp_path / "studies", 30)
    shutil.copytree(toy_model, tmp_path / "model")
    model = PresentModel(tmp_path / "model", tmp_path / "cache")
    return FPTTrainTask(model, retrainer=FPTRetrainer(model, track=False)), FPTDatastore(studies)


def label_all(store: FPTDatastore, folder: Path) -> None:
    for image_id in store.list_images():
        number = int(Path(image_id).stem.removeprefix("img"))
        name = ("benign", "malignant")[number % 2]
        store.save_label(
            image_id, str(label_file(folder, {"label": name})), "final", {"annotator": f"reader {number % 3}"}
        )


def test_saved_labels_are_trained_on_and_the_outcome_is_json(
    app: tuple[FPTTrainTask, FPTDatastore], tmp_path: Path
) -> None:
    task, store = app
    label_all(store, tmp_path / "sent")

    outcome: dict[str, Any] = task(SENT, store)

    assert outcome["published"], outcome["message"]
    assert outcome["labels"] == {"benign": 15, "malignant": 15}
    assert task.stats()["total_epochs"] == 6 and outcome["stats"]["status"] == "ended"
    (training, table), *_ = task.retrainer.history.tables()
    assert (training, len(table)) == (outcome["training"], 30)
    assert {row["annotator"] for row in table} == {"reader 0", "reader 1", "reader 2"}
    assert all(row["saved"] for row in table)


def test_an_image_of_a_joined_patient_does_not_judge_when_the_learned_label_is_gone(
    app: tuple[FPTTrainTask, FPTDatastore], tmp_path: Path
) -> None:
    task, store = app
    label_all(store, tmp_path / "sent")
    task(SENT, store)
    (_, table) = task.retrainer.history.tables()[-1]
    section = {row["key"]: row["section"] for row in table}
    learned = next(key for key in section if section[key] == "training")
    judge = next(key for key in section if section[key] == "validation")
    patient = next(str(n) for n in range(100) if hashed_section(f"group:{n}", 0.2) == "validation")
    (store.studies / "patients.csv").write_text(f"image,patient\n{learned},{patient}\n{judge},{patient}\n")
    store.remove_label(learned, "final")

    outcome = task(SENT, store)

    (_, table) = task.retrainer.history.tables()[-1]
    assert {row["key"]: row["section"] for row in table}[judge] == "training"
    assert learned not in {row["key"] for row in table} and "1 images were moved to training" in outcome["message"]


def test_copies_and_renamed_images_are_never_torn_from_what_was_learned(
    app: tuple[FPTTrainTask, FPTDatastore], tmp_path: Path
) -> None:
    task, store = app
    label_all(store, tmp_path / "sent")
    assert task(SENT, store)["published"]
    (_, table) = task.retrainer.history.tables()[-1]
    learned = {row["key"] for row in table if row["section"] == "training"}
    shutil.copytree(store.studies / "ward1", store.studies / "copies")
    (store.studies / "ward1").rename(store.studies / "renamed")
    store.refresh()
    label_all(store, tmp_path / "sent")

    outcome = task(SENT, store)

    (_, table) = task.retrainer.history.tables()[-1]
    section = {row["key"]: row["section"] for row in table}
    for key in [key for key in section if key.startswith("renamed/")]:
        before = "training" if key.replace("renamed/", "ward1/") in learned else "validation"
        assert (section[key], section[key.replace("renamed/", "copies/")]) == (before, before)
    assert len(section) == 40 and any("no patient is known" in warning for warning in outcome["warnings"])


def test_a_training_is_stopped_while_its_labels_are_still_read(
    app: tuple[FPTTrainTask, FPTDatastore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, store = app
    label_all(store, tmp_path / "sent")
    listing = store.labels_of
    monkeypatch.setattr(store, "labels_of", lambda tag: task.cancel() or listing(tag))

    outcome = task(SENT, store)

    assert outcome["message"] == "The training was cancelled; the present model stays." and not outcome["published"]
    monkeypatch.undo()
    assert task(SENT, store)["published"]


def test_no_labels_are_a_sentence(app: tuple[FPTTrainTask, FPTDatastore]) -> None:
    task, store = app

    assert task(SENT, store)["message"].startswith("No image has a label yet")


def test_what_clients_may_set_is_what_they_may_send_back(app: tuple[FPTTrainTask, FPTDatastore]) -> None:
    task, store = app
    config = task.info()["config"]

    assert config["max_epochs"] == 10 and config["metric"][0] == "auc" and config["pretrained"] is True
    assert task.defaults.with_request(config) == task.defaults
    with pytest.raises(ValueError, match="max_epochs='ten'"):
        task({**SENT, "max_epochs": "ten"}, store)
