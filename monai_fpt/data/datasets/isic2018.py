"""ISIC 2018 task 3: dermoscopy, seven lesions, with official training, validation and test sections.

Traps that are handled:

* The label files are one-hot; copies have other column orders. Columns are read by name, and each row must have
  exactly one 1. The class order is the challenge's (MEL, NV, BCC, AKIEC, BKL, DF, VASC), neither alphabetical nor that
  of DermaMNIST.
* Archives unpack to folders of folders, and users move the label files: both are found by name at any depth.
* A lesion has several pictures in the training section (all of HAM10000).
  ``ISIC2018_Task3_Training_LesionGroupings.csv``, or ``HAM10000_metadata.csv``, says which; validation and test have no
  such list, so their lesions are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import FPTImageIndex, files_below, named_file
from monai_fpt.data.datasets.joining import FPTLabelJoin
from monai_fpt.data.datasets.label_files import column_of, read_named_rows
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile

__all__ = ["ISIC2018Dataset"]

_STEM = "ISIC2018_Task3_{}_{}"
_PART_OF = {"training": "Training", "validation": "Validation", "test": "Test"}
_GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
_METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")


class ISIC2018Dataset(FPTPublicDataset):
    """ISIC 2018, seven lesions. See :class:`~monai_fpt.data.datasets.base.FPTPublicDataset` for the arguments."""

    name = "isic2018"
    title = "ISIC 2018"
    modality = "dermoscopy"
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    official_split = True
    group_key = "lesion_id, of the training section"
    licence = "CC BY-NC 4.0"
    homepage = "https://challenge.isic-archive.com/landing/2018/47/"
    citation = "Tschandl et al., Sci. Data 5, 2018; Codella et al., arXiv 1902.03368, 2019"
    mean = (0.7636, 0.5466, 0.5707)
    std = (0.1404, 0.1519, 0.1692)
    learning_rate = 1e-4
    base_url = "https://isic-challenge-data.s3.amazonaws.com/2018/"
    source_files = (
        *(
            FPTSourceFile(
                f"{_STEM.format(part, kind)}.zip",
                f"{_STEM.format(part, kind)}.zip",
                folder=_STEM.format(part, kind),
                images=images if kind == "Input" else 0,
            )
            for part, images in (("Training", 10015), ("Validation", 193), ("Test", 1512))
            for kind in ("GroundTruth", "Input")
        ),
        FPTSourceFile(_GROUPINGS, _GROUPINGS),
    )
    counts = (
        FPTPublishedCount(10015, "MedIMeta", section="training"),
        FPTPublishedCount(193, "MedIMeta", section="validation"),
        FPTPublishedCount(1512, "MedIMeta", section="test"),
        *(
            FPTPublishedCount(number, "recalled", verified=False, section="training", class_name=name)
            for name, number in (
                ("MEL", 1113), ("NV", 6705), ("BCC", 514), ("AKIEC", 327), ("BKL", 1099), ("DF", 115), ("VASC", 142),
            )
        ),
    )  # fmt: skip
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "MedIMeta; the training classes are unverified",
        "addresses": "seen in public download programs; no checksum is published",
        "classes": "the challenge's page",
        "statistics": "the authors' published configuration",
        "licence": "MedMNIST's table and a dataset page",
    }
    tree = """
isic2018/
  ISIC2018_Task3_Training_Input/                      10,015 .jpg files
  ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv
  ISIC2018_Task3_Validation_Input/                    193 .jpg files
  ISIC2018_Task3_Validation_GroundTruth/ISIC2018_Task3_Validation_GroundTruth.csv
  ISIC2018_Task3_Test_Input/                          1,512 .jpg files
  ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv
  ISIC2018_Task3_Training_LesionGroupings.csv
"""
    steps = (
        "open https://challenge.isic-archive.com/data/#2018, task 3",
        "get input and ground truth of training, validation and test, and the lesion groupings of the training section",
        "unpack the archives into one folder",
    )

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        files = files_below(root)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts)
        found.leakage = "pictures of one lesion may be in two sections"
        join = FPTLabelJoin(found)
        for section, part in _PART_OF.items():
            label_file = named_file(files, [f"{_STEM.format(part, 'GroundTruth')}.csv"], root, cls.title)
            if label_file is None:
                found.warned.append(
                    f"there is no {_STEM.format(part, 'GroundTruth')}.csv, the official {section} section is absent"
                )
                continue
            folder = _STEM.format(part, "Input").casefold()
            inside = [
                path for path in files if folder in (name.casefold() for name in path.relative_to(root).parts[:-1])
            ]
            index = FPTImageIndex(inside or files, root, cls.title)
            if not index.images:
                raise cls.absent(root, f"there are no images for {label_file.name}")
            labels = _labels_of(label_file, cls.classes, cls.title)
            join.add(index, label_file, labels, section)
        join.finish()
        if not found.items:
            raise cls.absent(root, f"there is no {_STEM.format('Training', 'GroundTruth')}.csv")
        _add_lesions(found, files, cls.title)
        return found


def _labels_of(label_file: Path, classes: Sequence[str], title: str) -> list[tuple[str, int | None]]:
    """Image name and class of each one-hot row."""
    rows = read_named_rows(label_file, title)
    columns = tuple(rows[0][1]) if rows else ()
    image_column = column_of(columns, ("image", "image_id", "image_name"), label_file, title)
    class_columns = [column_of(columns, (name.lower(),), label_file, title) for name in classes]
    labels: list[tuple[str, int | None]] = []
    for number, row in rows:
        cells = [row[name] for name in class_columns]
        values = [{"0": 0, "0.0": 0, "1": 1, "1.0": 1}.get(cell) for cell in cells]
        if None in values or sum(value == 1 for value in values) != 1:
            raise ValueError(
                f"{title}: label file {label_file.name!r}, row {number} has {cells} for {list(classes)}, not exactly "
                "one 1; "
                "copy the file again."
            )
        labels.append((row[image_column], values.index(1)))
    return labels


def _add_lesions(found: FPTFoundImages, files: Sequence[Path], title: str) -> None:
    """Lesions of the training images, and of the metadata age, sex and place where they are there."""
    groupings = named_file(files, [_GROUPINGS], found.root, title)
    metadata = named_file(files, _METADATA, found.root, title)
    lesion_of: dict[str, str] = {}
    facts_of: dict[str, dict[str, str]] = {}
    for path in (
        path for path in (metadata, groupings) if path is not None
    ):  # the challenge's own list has the last word
        rows = read_named_rows(path, title)
        columns = tuple(rows[0][1]) if rows else ()
        image_column = column_of(columns, ("image", "image_id"), path, title)
        lesion_column = column_of(columns, ("lesion_id",), path, title)
        for _, row in rows:
            name = Path(row[image_column]).stem.casefold()
            lesion_of[name] = row[lesion_column]
            known = {fact: row[fact] for fact in ("age", "sex", "localization") if row.get(fact)}
            facts_of.setdefault(name, {}).update(known)
    if not lesion_of:
        found.warned.append(f"there is no {_GROUPINGS}, which says what pictures are of one lesion")
        return
    training = [item for item in found.items if found.sections[item["key"]] == "training"]
    alone = []
    for item in found.items:
        name = Path(item["key"]).stem.casefold()
        item.update(facts_of.get(name, {}))
        if lesion_of.get(name):
            item["group"] = lesion_of[name]
        elif found.sections[item["key"]] == "training":
            alone.append(item["key"])
    if alone:
        found.warned.append(
            f"{len(alone):,} of {len(training):,} training images have no lesion (first {alone[0]!r}) and count as "
            "lesions "
            "of their own"
        )
    found.said.append("lesions of validation and test are not published, they may be those of training images")
