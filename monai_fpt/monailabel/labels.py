"""The labelled images of a datastore as a data list to train on, with the patients they are of. How a label file is read is
told in :mod:`~monai_fpt.monailabel.label_forms`.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_fpt.data import FPTDataList
from monai_fpt.data.dicom_patients import dicom_patient
from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.label_files import IMAGES
from monai_fpt.monailabel.label_forms import LabelError, class_names, read_label
from monai_fpt.monailabel.study_images import image_stem

if TYPE_CHECKING:
    from monai_fpt.monailabel.datastore import FPTDatastore

__all__ = ["PATIENTS_FILE", "LabelError", "StudyLabels", "class_names", "labelled_data_list", "read_label"]

PATIENTS_FILE = "patients.csv"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StudyLabels:
    """What readers have labelled.

    Attributes:
        data_list: all labelled images in ``training``; ``validation`` and ``test`` are empty, the caller splits. An item's
            ``key`` is the image's id, which is also its key in :class:`~monai_fpt.monailabel.features.StudyFeatures`.
        refused: id and reason of every label that does not fit the model's classes. They are to be told, never dropped
            silently.
        infos: id to what came with the label.
        patients: id to patient, also of the images that were asked for besides.
        warnings: what the reader has to know of the patients.
    """

    data_list: FPTDataList
    refused: Mapping[str, str]
    infos: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    patients: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def labelled_data_list(
    datastore: FPTDatastore, card: FPTModelCard, tag: str = "final", besides: Iterable[str] = ()
) -> StudyLabels:
    """Every image with a label that says a class.

    The group of an item is its patient: ``patient`` of the image's information, else of ``patients.csv`` in the studies
    folder (columns ``image``, a path relative to that folder, and ``patient``), else the DICOM file's Patient ID. An ID is
    believed however many images have it, unless all DICOM images of the studies have the same, as an anonymiser writes it:
    one that counts only up to some share would change its meaning with every label, and tear patients.

    A label whose image has another content than when it was saved is refused: it was given for another picture. So is one whose image
    is not there, under the name of its file. An item has the ``sha256`` of its image, by which copies are known.

    Args:
        datastore: the app's.
        card: of the model to train: its classes and task.
        tag: which labels.
        besides: ids of further images whose patients are to be told, also of such that are gone.

    Raises:
        ValueError: a ``patients.csv`` that cannot be read, that names two patients for an image, or whose rows name no image
            while a labelled image has no patient.
    """
    files = datastore.labels_of(tag)  # once for all: each question of its own would list the folder
    infos = {image_id: datastore.files.read_info(tag, image_id) for image_id in files}
    items: list[dict[str, Any]] = []
    refused = {name: f"The label belongs to no image: {why}." for name, why in datastore.stray_labels(tag).items()}
    for image_id in sorted(files):
        image, info = datastore.get_image_uri(image_id), infos[image_id]
        try:
            names = read_label(files[image_id], card.classes, card.task, info)
            content = datastore.contents.present(image, info)
        except (LabelError, OSError) as error:
            refused[image_id] = str(error)
            continue
        if info.get("image_sha256", content) != content:  # labels of other programs do not say
            refused[image_id] = (
                f"The image {image_id!r} was exchanged after it was labelled; look at it and save its label again."
            )
            continue
        item: dict[str, Any] = {"image": image, "key": image_id, "sha256": content}
        item["label"] = (
            [float(name in names) for name in card.classes]
            if card.task == "multilabel"
            else card.classes.index(names[0])
        )
        items.append(item)
    wanted = dict.fromkeys([*(item["key"] for item in items), *besides])
    patients, strangers, warnings = _patients_of(wanted, datastore)
    items = [item | {"group": patients[item["key"]]} if item["key"] in patients else item for item in items]
    lonely = [item["key"] for item in items if "group" not in item]
    if strangers and lonely:
        raise ValueError(
            f"{PATIENTS_FILE} names {len(strangers)} images that are not in the studies folder, the first is {strangers[0]!r}, while the "
            f"labelled image {lonely[0]!r} has no patient; write images as their paths in the folder, suffix included."
        )
    if lonely and not warnings:
        warnings = (
            f"Of {len(lonely)} of the {len(items)} labelled images no patient is known, so images of one patient may lie on both sides of the "
            f"split; name patients in {PATIENTS_FILE} in the studies folder (columns image, patient).",
        )
    listed = FPTDataList(card.classes, items, [], [], task=card.task, ordered=card.ordered)
    return StudyLabels(listed, refused, infos, patients, warnings)


def _patients_of(
    image_ids: Iterable[str], datastore: FPTDatastore
) -> tuple[dict[str, str], list[str], tuple[str, ...]]:
    """Patients by image, rows of ``patients.csv`` that name no image, and what is to be told."""
    named, strangers = _patients(datastore, image_ids)
    found: dict[str, str] = {}
    asked: dict[str, str] = {}
    for image_id in image_ids:
        patient = datastore.files.read_info(IMAGES, image_id).get("patient") or named.get(image_id)
        path = datastore.get_image_uri(image_id)
        if patient:
            found[image_id] = str(patient)
        elif path:
            asked[image_id] = path
    headers = {image_id: name for image_id, path in asked.items() if (name := dicom_patient(Path(path)))}
    names = set(headers.values())
    if len(names) == 1 and not _is_told_apart(next(iter(names)), datastore):
        warning = (
            "All DICOM images of the studies have one Patient ID, so it is taken for no patient and images of a patient may lie on "
            f"both sides of the split; name patients in {PATIENTS_FILE}."
        )
        logger.warning("%s", warning)
        return found, strangers, (warning,)
    return found | headers, strangers, ()


def _is_told_apart(name: str, datastore: FPTDatastore) -> bool:
    """Whether a DICOM image of the studies has another Patient ID."""
    others = (dicom_patient(Path(datastore.get_image_uri(image_id))) for image_id in datastore.list_images())
    return any(other not in ("", name) for other in others)


def _patients(datastore: FPTDatastore, besides: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Patients by image of ``patients.csv``, and the rows that name no image, neither of the studies nor of ``besides``."""
    path = datastore.studies / PATIENTS_FILE
    if not path.is_file():
        return {}, []
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        rows = csv.DictReader(file, delimiter=max(",;\t", key=first.count))
        if not {"image", "patient"} <= set(rows.fieldnames or ()):
            raise ValueError(
                f'"{path}" has no columns "image" and "patient"; name them in its first line, with commas between.'
            )
        named = [((row["image"] or "").strip(), (row["patient"] or "").strip()) for row in rows]
    ids = {*datastore.list_images(), *besides}
    folded: dict[str, list[str]] = {}
    for image_id in sorted(ids):
        for name in {image_id.casefold(), image_stem(image_id).casefold()}:
            folded.setdefault(name, []).append(image_id)
    patients: dict[str, str] = {}
    strangers = []
    for name, patient in named:
        if not name or not patient:
            continue
        plain = name.replace("\\", "/").removeprefix("./")
        alike = [plain] if plain in ids else folded.get(plain.casefold(), [])
        if len(alike) != 1:
            strangers.append(name)
        elif patients.setdefault(alike[0], patient) != patient:
            raise ValueError(f'"{path}" names two patients for the image {alike[0]!r}; leave the right one.')
    return patients, strangers
