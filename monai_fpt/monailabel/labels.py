"""The labelled images of a datastore as a data list to train on, with the patients they are of. How a label file is read is
told in :mod:`~monai_fpt.monailabel.label_forms`.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_fpt.data import FPTDataList
from monai_fpt.data.dicom_patients import with_dicom_patients
from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.label_forms import LabelError, class_names, read_label

if TYPE_CHECKING:
    from monailabel.interfaces.datastore import Datastore

__all__ = ["PATIENTS_FILE", "LabelError", "StudyLabels", "class_names", "labelled_data_list", "read_label"]

PATIENTS_FILE = "patients.csv"


@dataclasses.dataclass(frozen=True)
class StudyLabels:
    """What readers have labelled.

    Attributes:
        data_list: all labelled images in ``training``; ``validation`` and ``test`` are empty, the caller splits. An item's
            ``key`` is the image's id, which is also its key in :class:`~monai_fpt.monailabel.features.StudyFeatures`.
        refused: id and reason of every label that does not fit the model's classes. They are to be told, never dropped
            silently.
    """

    data_list: FPTDataList
    refused: Mapping[str, str]


def labelled_data_list(datastore: Datastore, card: FPTModelCard, tag: str = "final") -> StudyLabels:
    """Every image with a label that says a class.

    The group of an item is its patient: ``patient`` of the image's information, else of ``patients.csv`` in the studies
    folder (columns ``image``, a path relative to that folder, and ``patient``), else the DICOM file's Patient ID.

    Args:
        datastore: the app's.
        card: of the model to train: its classes and task.
        tag: which labels.

    Raises:
        ValueError: a ``patients.csv`` that cannot be read.
    """
    patients = _patients(datastore)
    items: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for image_id in sorted(datastore.get_labeled_images(tag)):
        path = datastore.get_label_uri(image_id, tag)
        info = datastore.get_label_info(image_id, tag)
        try:
            names = read_label(path, card.classes, card.task, info)
        except (LabelError, OSError) as error:
            refused[image_id] = str(error)
            continue
        image_info = datastore.get_image_info(image_id)
        item: dict[str, Any] = {"image": datastore.get_image_uri(image_id), "key": image_id}
        item["label"] = (
            [float(name in names) for name in card.classes]
            if card.task == "multilabel"
            else card.classes.index(names[0])
        )
        patient = image_info.get("patient") or patients.get(image_id)
        if patient:
            item["group"] = str(patient)
        items.append(item)
    listed = FPTDataList(card.classes, with_dicom_patients(items), [], [], task=card.task, ordered=card.ordered)
    return StudyLabels(listed, refused)


def _patients(datastore: Datastore) -> dict[str, str]:
    folder = getattr(datastore, "studies", None)
    path = None if folder is None else Path(folder) / PATIENTS_FILE
    if path is None or not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"image", "patient"} <= set(rows.fieldnames or ()):
            raise ValueError(f'"{path}" has no columns "image" and "patient"; name them in its first line.')
        return {row["image"].strip(): row["patient"].strip() for row in rows if row["image"]}
