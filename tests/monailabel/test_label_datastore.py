"""Labels are never lost, and no request leaves the folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from label_toys import CLASSES, draw_studies, label_file, picture, write_dicom
from PIL import Image

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

from monai_fpt.monailabel.datastore import FPTDatastore
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.label_forms import read_label


def check(path: Path, info: Any) -> None:
    read_label(path, CLASSES, info=info)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return draw_studies(tmp_path / "studies")


@pytest.fixture
def store(studies: Path) -> FPTDatastore:
    return FPTDatastore(studies, check)


def save(
    store: FPTDatastore, image_id: str, content: Any = None, tag: str = "final", name: str = "l.json", **info: Any
) -> str:
    path = label_file(store.studies.parent / f"sent-{threading.get_ident()}", content or {"label": "benign"}, name)
    return store.save_label(image_id, str(path), tag, info)


def test_every_kind_of_image_is_found_in_every_depth_and_case(studies: Path) -> None:
    write_dicom(studies / "ward2" / "deep" / "B.DCM", picture(7)[..., 0].astype("uint16"))
    write_dicom(studies / "1.2.840.1", picture(8)[..., 0].astype("uint16"))  # DICOM without a suffix
    (studies / "labels.csv").write_text("a\n")
    (studies / ".hidden").mkdir()
    Image.fromarray(picture(9)).save(studies / ".hidden" / "no.png")

    found = FPTDatastore(studies).list_images()

    assert sorted(found) == sorted(
        ["1.2.840.1", "img00.png", "img02.jpeg", "img03.png", "img05.jpeg"]
        + ["ward1/img01.JPG", "ward1/img04.JPG", "ward2/deep/B.DCM"]
    )


def test_a_bare_stem_is_found_in_any_folder_and_a_name_never_means_another_image(studies: Path) -> None:
    write_dicom(studies / "ward2" / "CT_small.DCM", picture(7)[..., 0].astype("uint16"))
    store = FPTDatastore(studies)
    assert (store.resolve("CT_small"), store.resolve("img01")) == ("ward2/CT_small.DCM", "ward1/img01.JPG")
    for other in ("CT_small.DCM", "img01.JPG", "ward3/CT_small"):  # the id of an image that was there once
        with pytest.raises(RequestError, match="There is no image"):
            store.resolve(other)

    write_dicom(studies / "ward3" / "CT_small.dcm", picture(8)[..., 0].astype("uint16"))
    store.refresh()
    with pytest.raises(
        RequestError, match=r"Several images have the stem 'CT_small': ward2/CT_small\.DCM, ward3/CT_small\.dcm"
    ):
        store.resolve("CT_small")


def test_two_images_of_one_stem_stay_two_and_neither_takes_the_others_label(store: FPTDatastore, studies: Path) -> None:
    save(store, "img00", {"label": "malignant"})
    Image.fromarray(picture(50)).save(studies / "img00.jpg")
    store.refresh()

    assert store.get_labeled_images() == ["img00.png"]
    with pytest.raises(RequestError, match="Several images have the stem") as refused:
        store.resolve("img00")
    assert refused.value.status_code == 404
    assert store.get_label_uri("img00.jpg", "final") == ""


@pytest.mark.parametrize("ask", ["json", "status", "labelled_data_list"])
def test_folders_are_listed_as_often_for_many_labels_as_for_few(
    ask: str, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_fpt.features import FPTModelCard
    from monai_fpt.monailabel.labels import labelled_data_list

    card, listed = FPTModelCard.load(toy_model / "model.json"), []
    for count in (3, 12):
        store = FPTDatastore(draw_studies(tmp_path / f"studies{count}", count))
        for image_id in store.list_images():
            save(store, image_id)
        with monkeypatch.context() as patch:
            patch.setattr("monai_fpt.monailabel.study_images._FRESH", 1e9)
            calls: list[Any] = []
            for name in ("scandir", "listdir"):
                kept = getattr(os, name)
                patch.setattr(os, name, lambda *args, kept=kept, calls=calls: calls.append(args) or kept(*args))
            answer = labelled_data_list(store, card) if ask == "labelled_data_list" else getattr(store, ask)()
        assert answer
        listed.append(len(calls))

    assert listed[0] == listed[1] > 0


def test_an_image_whose_label_could_have_no_name_is_not_listed_and_says_so(
    studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for length in (246, 247):
        Image.fromarray(picture(length)).save(studies / ("n" * (length - 4) + ".png"))
    store = FPTDatastore(studies, check)
    fits, too_long = "n" * 242 + ".png", "n" * 243 + ".png"

    assert fits in store.list_images() and too_long not in store.list_images()
    store.refresh()
    assert caplog.text.count("rename it to at most 246") == 1  # once, not at every listing
    with pytest.raises(RequestError, match="has 247 bytes") as refused:
        store.resolve(too_long)
    assert refused.value.status_code == 422
    mask = label_file(studies.parent / "sent", b"\0", "l.seg.nrrd")
    store._check_label = None
    assert store.save_label(fits, str(mask), "final", {}) == fits
    store.update_image_info(fits, {"patient": "p"})
    store.remove_label(fits, "final")


def test_a_label_is_there_with_its_information_after_a_restart(store: FPTDatastore, studies: Path) -> None:
    save(store, "ward1/img01.JPG", {"label": "malignant"}, annotator="me")
    again = FPTDatastore(studies, check)

    assert again.get_labeled_images() == ["ward1/img01.JPG"]
    assert json.loads(again.get_label("ward1/img01.JPG", "final").read()) == {"label": "malignant"}
    assert again.get_label_info("ward1/img01.JPG", "final")["annotator"] == "me"
    assert again.status() == {"total": 6, "completed": 1, "label_tags": {"final": 1}}
    pair = again.datalist()[0]
    assert Path(pair["image"]).is_file() and Path(pair["label"]).is_file()


def test_a_label_of_another_form_takes_the_place_of_the_one_before_and_both_are_in_the_history(
    store: FPTDatastore,
) -> None:
    save(store, "img00.png", {"label": "benign"}, annotator="first")
    save(store, "img00.png", "malignant\n", name="l.txt", annotator="second")

    assert Path(store.get_label_uri("img00.png", "final")).name == "img00.png.txt"
    history = store.label_history("img00.png")
    assert [entry["annotator"] for entry in history] == ["first", "second"]
    folder = store.labels / ".history" / "final" / "img00.png"
    assert [json.loads((folder / history[0]["file"]).read_text()), (folder / history[1]["file"]).read_text()] == [
        {"label": "benign"},
        "malignant\n",
    ]


def test_a_removed_label_is_gone_from_every_answer_and_stays_in_the_history(store: FPTDatastore, studies: Path) -> None:
    save(store, "img00.png")
    save(store, "img03.png")
    store.remove_label("img00.png", "final")

    for each in (store, FPTDatastore(studies)):
        assert each.get_labeled_images() == ["img03.png"]
        assert [Path(pair["image"]).name for pair in each.datalist()] == ["img03.png"]
        assert each.get_label_info("img00.png", "final") == {}
    assert "removed" in store.label_history("img00.png")[-1]
    with pytest.raises(RequestError, match="has no label") as refused:
        store.remove_label("img00.png", "final")
    assert refused.value.status_code == 404


def test_labels_of_a_lost_index_are_found_again(store: FPTDatastore, studies: Path) -> None:
    import shutil

    save(store, "img00.png")
    save(store, "ward1/img04.JPG", tag="original")
    (studies / "datastore_v2.json").write_text("{}")  # as another version of the app may have left it
    shutil.rmtree(studies / "labels" / ".info")

    again = FPTDatastore(studies, check)
    assert again.get_labeled_images() == ["img00.png"]
    assert again.get_labels_by_image_id("ward1/img04.JPG") == {"original": "ward1/img04.JPG"}


def test_labels_of_the_stock_datastore_are_understood(studies: Path) -> None:
    label_file(studies / "labels" / "final", {"label": "benign"}, "img00.json")
    label_file(studies / "labels" / "final", {"label": "benign"}, "nobody.json")

    assert FPTDatastore(studies).get_labeled_images() == ["img00.png"]


def score_forever(studies: str, ready: Any, stop: Any) -> None:
    """What a background process of scoring, training or batch inference does to a datastore, again and again."""
    store = FPTDatastore(studies)
    path = label_file(Path(studies).parent / "background", {"label": "benign"})
    ready.set()
    while not stop.is_set():
        for image_id in store.list_images():
            store.update_image_info(image_id, {"score": 0.5})
            store.save_label(image_id, str(path), "original", {"model": "fpt"})


def test_thirty_labels_saved_while_two_processes_write_scores_and_predictions_are_all_there(tmp_path: Path) -> None:
    studies = draw_studies(tmp_path / "studies", 30)
    store = FPTDatastore(studies, check)
    context = multiprocessing.get_context("fork")
    ready, stop = [context.Event() for _ in range(2)], context.Event()
    others = [context.Process(target=score_forever, args=(str(studies), event, stop), daemon=True) for event in ready]
    for process in others:
        process.start()
    assert all(event.wait(60) for event in ready)
    ids = store.list_images()
    halves = [
        threading.Thread(target=lambda part=part: [save(store, i, {"label": "malignant"}, annotator="r") for i in part])
        for part in (ids[:15], ids[15:])
    ]
    for reader in halves:
        reader.start()
    for reader in halves:
        reader.join()
    stop.set()
    for process in others:
        process.join(60)

    for each in (store, FPTDatastore(studies, check)):
        assert sorted(each.get_labeled_images()) == sorted(ids)
        assert all(each.get_label_info(image_id, "final")["annotator"] == "r" for image_id in ids)
        assert all(json.loads(Path(pair["label"]).read_text()) == {"label": "malignant"} for pair in each.datalist())


def test_a_final_label_that_names_no_class_is_refused_and_the_one_before_stays(store: FPTDatastore) -> None:
    save(store, "img00.png", {"label": "malignant"})

    with pytest.raises(RequestError, match="no class") as refused:
        save(store, "img00.png", {"label": "melanoma"})

    assert refused.value.status_code == 422
    assert json.loads(store.get_label("img00.png", "final").read()) == {"label": "malignant"}
    assert save(store, "img00.png", {"anything": 1}, tag="draft") == "img00.png"


@pytest.mark.parametrize(
    ("image_id", "tag", "name", "status"),
    [
        ("nobody.png", "final", "l.json", 404),
        ("/etc/passwd", "final", "l.json", 404),
        ("../studies/img00.png", "final", "l.json", 404),
        ("img00.png", "../../x", "l.json", 400),
        ("img00.png", ".info", "l.json", 400),
        ("img00.png", "final", "label", 400),
    ],
)
def test_a_label_for_a_place_outside_is_refused(
    image_id: str, tag: str, name: str, status: int, store: FPTDatastore, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError) as refused:
        save(store, image_id, tag=tag, name=name)

    assert refused.value.status_code == status
    assert {p for p in tmp_path.rglob("*") if p.is_file() and "sent-" not in str(p)} == {
        p for p in before if p.is_file()
    }


@pytest.mark.parametrize("image_id", ["../evil", "/tmp/evil", "a/../../evil", "labels/final/evil", ".evil"])
def test_an_image_for_a_place_outside_is_refused(image_id: str, store: FPTDatastore, tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "up.png")

    with pytest.raises(RequestError, match="cannot be an image's id") as refused:
        store.add_image(image_id, str(tmp_path / "up.png"), {})

    assert refused.value.status_code == 400
    assert not list(tmp_path.parent.rglob("evil*"))


def test_an_image_that_is_sent_is_there_and_never_takes_the_place_of_another(
    store: FPTDatastore, tmp_path: Path
) -> None:
    Image.fromarray(picture(70)).save(tmp_path / "up.png")

    assert store.add_image("ward3/new", str(tmp_path / "up.png"), {"patient": "p1"}) == "ward3/new.png"
    assert store.get_image_info("ward3/new")["patient"] == "p1"
    with pytest.raises(RequestError, match="another image") as refused:
        store.add_image("img00", str(tmp_path / "up.png"), {})
    assert refused.value.status_code == 409
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "text.csv").write_text("no image")
    with pytest.raises(RequestError, match="no kind that is read"):
        store.add_image("x", str(tmp_path / "text.csv"), {})


def test_removing_an_image_keeps_its_labels_in_the_history(store: FPTDatastore) -> None:
    save(store, "img00.png", {"label": "malignant"})
    store.remove_image("img00.png")

    assert "img00.png" not in store.list_images()
    assert list((store.labels / ".history" / "final" / "img00.png").glob("*.json"))
