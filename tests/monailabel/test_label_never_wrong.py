"""No label, answer or patient is silently another's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import CLASSES, label_file, picture, write_dicom
from PIL import Image

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.datastore import FPTDatastore
from monai_fpt.monailabel.label_forms import LabelError, class_names, read_label
from monai_fpt.monailabel.labels import labelled_data_list
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.problems import study_problems


def draw(path: Path, seed: int = 0, bright: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, bright=bright)).save(path)


def save(store: FPTDatastore, image_id: str, content: Any) -> None:
    store.save_label(image_id, str(label_file(store.studies.parent / "sent", content)), "final", {})


def labelled_studies(studies: Path, names: Sequence[str], label: str = "benign") -> FPTDatastore:
    """A folder of drawn images, each with a label."""
    for seed, name in enumerate(names):
        draw(studies / name, seed)
    store = FPTDatastore(studies)
    for image_id in store.list_images():
        save(store, image_id, {"label": label})
    return store


def problems_of(store: FPTDatastore) -> list[str]:
    store.status()
    return study_problems(store, {})


def card_of(toy_model: Path) -> FPTModelCard:
    return FPTModelCard.load(toy_model / "model.json")


@pytest.mark.parametrize("pair", [("a.png", "a.jpg"), ("scan.1.png", "scan.png"), ("b.1.png", "b.tif")])
def test_the_label_of_an_image_that_is_gone_is_no_siblings_label(pair: tuple[str, str], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    for seed, name in enumerate(pair):
        draw(studies / name, seed)
    save(FPTDatastore(studies), pair[0], {"label": "malignant"})
    (studies / pair[0]).unlink()

    assert FPTDatastore(studies).get_labeled_images() == []
    draw(studies / pair[0])
    assert FPTDatastore(studies).get_labeled_images() == [pair[0]]


def test_a_removed_label_does_not_bring_back_another_file_and_a_found_one_is_kept_in_the_history(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "studies" / "a.png")
    store = FPTDatastore(tmp_path / "studies")
    label_file(store.labels / "final", "benign", "a.txt")
    save(store, "a.png", {"label": "malignant"})
    kept = [(store.labels / ".history/final/a.png" / entry["file"]).read_text() for entry in store.label_history("a")]
    assert kept == ["benign", '{"label": "malignant"}']

    label_file(store.labels / "final", "benign", "a.png.txt")
    store.remove_label("a.png", "final")
    assert store.get_labeled_images() == []


def test_names_links_and_files_that_would_break_the_listing_do_not(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    draw(studies / "w" / "a.png")
    os.symlink("..", studies / "w" / "loop")
    os.mkfifo(studies / "pipe.png")
    try:
        os.rename(studies / "w" / "a.png", os.fsencode(studies) + b"/M\xfcller.png")
    except OSError:
        pytest.skip("the file system takes no such name")
    draw(studies / "w" / "a.png")
    (studies / "IM0001").write_bytes(b"")
    store = FPTDatastore(studies)
    assert store.list_images() == ["w/a.png"]

    write_dicom(studies / "IM0001", picture(1)[..., 0].astype(np.uint16))  # it has arrived whole
    store.refresh()
    assert store.list_images() == ["IM0001", "w/a.png"]
    json.dumps(store.json(), ensure_ascii=False).encode()


def test_the_answer_is_of_the_content_that_the_file_has_now(toy_model: Path, tmp_path: Path) -> None:
    model, path, answers = PresentModel(toy_model, tmp_path / "cache"), tmp_path / "a.png", []
    for seed in (0, 1, 0):
        draw(path, seed, bright=seed == 1)
        answers.append(model.answer(model.study("a.png", path)).probabilities)

    assert answers[2] == answers[0] != answers[1]


def test_a_label_of_another_picture_is_refused(toy_model: Path, tmp_path: Path) -> None:
    draw(tmp_path / "studies" / "a.png")
    store = FPTDatastore(tmp_path / "studies")
    save(store, "a.png", {"label": "malignant"})
    draw(tmp_path / "studies" / "a.png", 9)

    labels = labelled_data_list(store, card_of(toy_model))
    assert labels.data_list.training == [] and "was exchanged after it was labelled" in labels.refused["a.png"]


def test_an_exchanged_image_is_known_also_where_its_size_and_time_are_the_old_ones(
    toy_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "studies" / "a.bmp"  # as many bytes whatever is in it
    draw(path)
    store = FPTDatastore(path.parent)
    save(store, "a.bmp", {"label": "malignant"})
    facts = path.stat()
    assert labelled_data_list(FPTDatastore(path.parent), card_of(toy_model)).refused == {}
    time.sleep(0.02)
    draw(path, 9)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    for again in (store, FPTDatastore(path.parent)):
        assert "was exchanged" in labelled_data_list(again, card_of(toy_model)).refused["a.bmp"]


def test_labels_of_a_folder_that_was_renamed_are_told_and_come_back_with_their_folder(
    toy_model: Path, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    store = labelled_studies(studies, [f"ward1/{seed}.png" for seed in range(3)], "malignant")
    assert problems_of(store) == []
    (studies / "ward1").rename(studies / "ward2")

    store.refresh()
    (told,) = problems_of(store)
    assert told.startswith(
        "3 final labels belong to no image; the first is 'ward1/0.png.json': its image is not there."
    )
    refused = labelled_data_list(store, card_of(toy_model)).refused
    assert refused["ward1/2.png.json"] == "The label belongs to no image: its image is not there."

    for folder in ("final", ".info/final"):
        (studies / "labels" / folder / "ward1").rename(studies / "labels" / folder / "ward2")
    labels = labelled_data_list(store, card_of(toy_model))
    assert (len(labels.data_list.training), labels.refused, problems_of(store)) == (3, {}, [])


def test_a_number_is_no_index_where_classes_are_named_with_digits() -> None:
    assert class_names(["1"], ["1", "2", "3"]) == ("1",)
    assert class_names([2], ["0", "1", "2"]) == ("2",)
    with pytest.raises(LabelError, match="name of one class and the index of another"):
        class_names([1], ["1", "2", "3"])
    with pytest.raises(LabelError, match="no class"):
        class_names([0], ["1", "2", "3"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.geojson", {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}}]}),
        ("a.json", {"annotations": []}),
        ("a.xml", "<ASAP_Annotations/>"),
        ("a.txt", ""),
    ],
)
def test_a_file_without_a_class_is_no_answer_that_there_is_none(name: str, content: Any, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="names no class; if the image is of none"):
        read_label(label_file(tmp_path, content, name), CLASSES, "multilabel")
    assert read_label(label_file(tmp_path, {"labels": []}), CLASSES, "multilabel") == ()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", {"label": "benign", "labels": ["malignant"]}, "different things"),
        ("a.xml", '<a><image name="b"><tag label="benign"/></image><image name="a"/></a>', "of 2 images"),
    ],
)
def test_a_file_that_says_two_things_is_refused(name: str, content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=says):
        read_label(label_file(tmp_path, content, name), CLASSES)


def test_segments_in_layers_keep_their_names(tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd", reason="pynrrd comes with MONAI Label")
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    pixels[0, 2:4] = 1
    header: dict[str, Any] = {"kinds": ["list", "domain", "domain", "domain"]}
    for number, name in enumerate(CLASSES):
        header |= {
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": "1",
            f"Segment{number}_Layer": f"{number}",
        }
    nrrd.write(str(tmp_path / "a.seg.nrrd"), pixels, header)

    assert read_label(tmp_path / "a.seg.nrrd", CLASSES) == ("benign",)


@pytest.mark.parametrize("form", ["img{:02d}.png", "img{:02d}", "./img{:02d}.png", "IMG{:02d}.PNG"])
def test_rows_of_patients_find_their_images(form: str, toy_model: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    store = labelled_studies(studies, [f"img{number:02d}.png" for number in range(4)])
    rows = [f"{form.format(n)},P{n // 2}\n" for n in range(4)]
    (studies / "patients.csv").write_text("image,patient\n" + "".join(rows))

    items = labelled_data_list(store, card_of(toy_model)).data_list.training
    assert [item["group"] for item in items] == ["P0", "P0", "P1", "P1"]
    (studies / "patients.csv").write_text("image,patient\n" + "".join(rows[:3]) + "elsewhere.png,P1\n")
    with pytest.raises(ValueError, match="not in the studies folder, the first is"):
        labelled_data_list(store, card_of(toy_model))
    (studies / "patients.csv").write_text("image,patient\n" + "".join(rows) + "img00.png,P1\n")
    with pytest.raises(ValueError, match="two patients"):
        labelled_data_list(store, card_of(toy_model))


def test_the_patient_of_an_image_is_known_also_when_its_label_or_the_image_is_gone(
    toy_model: Path, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    store = labelled_studies(studies, [f"img{number}.png" for number in range(4)])
    store.update_image_info("img1.png", {"patient": "P1"})
    store.remove_label("img0.png", "final")
    for number in (1, 2):
        store.remove_image(f"img{number}.png")
    (studies / "patients.csv").write_text("image,patient\nimg0.png,P0\nimg2.png,P2\n")

    labels = labelled_data_list(store, card_of(toy_model), besides=[f"img{n}.png" for n in range(3)])
    assert [item["key"] for item in labels.data_list.training] == ["img3.png"]
    assert labels.patients == {"img0.png": "P0", "img1.png": "P1", "img2.png": "P2"}


def test_images_of_unknown_patients_are_told_with_how_to_name_them(toy_model: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    store = labelled_studies(studies, [f"{number}.png" for number in range(3)])
    (studies / "patients.csv").write_text("image;patient\n0.png;P1\n1.png;P2\n")  # as a spreadsheet writes it

    labels = labelled_data_list(store, card_of(toy_model))
    assert labels.patients == {"0.png": "P1", "1.png": "P2"}
    (warning,) = labels.warnings
    assert warning.startswith(
        "Of 1 of the 3 labelled images no patient is known, so images of one patient may lie on both"
    )
    assert "patients.csv in the studies folder (columns image, patient)" in warning
    with (studies / "patients.csv").open("a") as file:
        file.write("2.png;P2\n")
    assert labelled_data_list(store, card_of(toy_model)).warnings == ()


def test_few_dicom_patients_are_patients_and_one_id_for_all_is_none(toy_model: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    for number in range(6):
        write_dicom(studies / f"{number}.dcm", picture(number)[..., 0].astype(np.uint16), PatientID=f"P{number // 3}")
    store = FPTDatastore(studies)
    for number in range(3):
        save(store, f"{number}.dcm", {"label": "benign"})

    items = labelled_data_list(store, card_of(toy_model)).data_list.training
    assert [item["group"] for item in items] == ["P0"] * 3
    for number in (3, 4, 5):
        (studies / f"{number}.dcm").unlink()
    store.refresh()
    assert all("group" not in item for item in labelled_data_list(store, card_of(toy_model)).data_list.training)
