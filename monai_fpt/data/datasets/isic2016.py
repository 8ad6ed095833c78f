"""ISIC 2016 task 3: dermoscopy, benign or malignant, with an official training and test section.

Traps that are handled:

* Neither label file has a header: read as if it had one, the first image is lost. Copies with a header exist; a row
  with an image's name is never taken for one.
* The training file says ``benign`` and ``malignant``, the test file ``0.0`` and ``1.0``.
* There is no validation section; it is dealt off the training images, as the paper does. No patients or lesions are
  published.
* Many images occur again in the later ISIC challenges: do not train on those and test on this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import FPTImageIndex, files_below, named_file
from monai_fpt.data.datasets.joining import FPTLabelJoin
from monai_fpt.data.datasets.label_files import column_of, read_cells
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile

__all__ = ["ISIC2016Dataset"]

_STEM = "ISBI2016_ISIC_Part3_{}_{}"
_PART_OF = {"training": "Training", "test": "Test"}
_IMAGE = re.compile(r"(.*[/\\])?isic_\d+(\.\w+)?", re.IGNORECASE)
_LABELS = {"benign": 0, "malignant": 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1}
_IMAGE_COLUMNS = ("image_id", "image", "img_id", "image_name", "isic_id", "id", "name", "filename")
_LABEL_COLUMNS = ("label", "target", "class", "malignant", "diagnosis", "benign_malignant")


class ISIC2016Dataset(FPTPublicDataset):
    """ISIC 2016, benign or malignant. See :class:`~monai_fpt.data.datasets.base.FPTPublicDataset` for the arguments."""

    name = "isic2016"
    title = "ISIC 2016"
    modality = "dermoscopy"
    classes = ("benign", "malignant")
    official_split = True
    group_key = "none published"
    licence = "CC0 according to a dataset card; check https://challenge.isic-archive.com/data/"
    homepage = "https://challenge.isic-archive.com/landing/2016/39/"
    citation = "Gutman et al., arXiv 1605.01397, 2016"
    mean = (0.7244, 0.6187, 0.5665)
    std = (0.1638, 0.1709, 0.1911)
    learning_rate = 5e-3
    base_url = "https://isic-challenge-data.s3.amazonaws.com/2016/"
    source_files = tuple(
        file
        for part, images in (("Training", 900), ("Test", 379))
        for file in (
            FPTSourceFile(f"{_STEM.format(part, 'GroundTruth')}.csv", f"{_STEM.format(part, 'GroundTruth')}.csv"),
            FPTSourceFile(
                f"{_STEM.format(part, 'Data')}.zip",
                f"{_STEM.format(part, 'Data')}.zip",
                folder=_STEM.format(part, "Data"),
                images=images,
            ),
        )
    )
    counts = (
        FPTPublishedCount(900, "the challenge's page", section="training"),
        FPTPublishedCount(379, "the challenge's page", section="test"),
        FPTPublishedCount(304, "mlscorecheck", section="test", class_name="benign"),
        FPTPublishedCount(75, "mlscorecheck", section="test", class_name="malignant"),
        FPTPublishedCount(727, "recalled", verified=False, section="training", class_name="benign"),
        FPTPublishedCount(173, "recalled", verified=False, section="training", class_name="malignant"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "the challenge's page; mlscorecheck for the test classes; the training classes are unverified",
        "addresses": "seen in public download programs; no checksum is published",
        "statistics": "the authors' published configuration",
        "licence": "a dataset card; unverified at the publisher",
    }
    tree = """
isic2016/
  ISBI2016_ISIC_Part3_Training_Data/          900 .jpg files
  ISBI2016_ISIC_Part3_Training_GroundTruth.csv
  ISBI2016_ISIC_Part3_Test_Data/              379 .jpg files
  ISBI2016_ISIC_Part3_Test_GroundTruth.csv
"""
    steps = (
        "open https://challenge.isic-archive.com/data/#2016, task 3",
        "get training and test data and both ground truth files",
        "unpack the two archives beside the ground truth files",
    )

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        files = files_below(root)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts)
        found.leakage = "no patients or lesions are published"
        join = FPTLabelJoin(found)
        for section, part in _PART_OF.items():
            label_file = named_file(files, [f"{_STEM.format(part, 'GroundTruth')}.csv"], root, cls.title)
            if label_file is None:
                continue
            folder = _STEM.format(part, "Data").casefold()
            inside = [
                path for path in files if folder in (name.casefold() for name in path.relative_to(root).parts[:-1])
            ]
            index = FPTImageIndex(inside or files, root, cls.title)
            if not index.images:
                raise cls.absent(root, f"there are no images for {label_file.name}")
            labels = _labels_of(label_file, cls.title)
            join.add(index, label_file, labels, section)
        join.finish()
        if not found.items:
            raise cls.absent(root, f"there is no {_STEM.format('Training', 'GroundTruth')}.csv")
        return found


def _labels_of(label_file: Path, title: str) -> list[tuple[str, int | None]]:
    """Image name and label of each row, with or without a header, in either coding."""
    rows = read_cells(label_file, title)
    image, label = 0, 1
    first = [cell.lower() for cell in rows[0][1]]
    if _is_header(first):
        rows = rows[1:]
        if len(first) != 2:
            image = first.index(column_of(first, _IMAGE_COLUMNS, label_file, title))
            label = first.index(column_of(first, _LABEL_COLUMNS, label_file, title))
        elif first[1] in _IMAGE_COLUMNS:
            image, label = 1, 0
    labels: list[tuple[str, int | None]] = []
    for number, cells in rows:
        meant = _LABELS.get(cells[label].lower()) if len(cells) > max(image, label) else None
        if meant is None or not cells[image]:
            raise ValueError(
                f"{title}: label file {label_file.name!r}, row {number} is {cells}, not an image and benign, "
                "malignant, 0 or "
                "1; copy the file again."
            )
        labels.append((cells[image], meant))
    return labels


def _is_header(row: Sequence[str]) -> bool:
    """Whether a first row in lower case has names of columns: no image's name, and a known column or no label."""
    if any(_IMAGE.fullmatch(cell) for cell in row):
        return False
    return bool(set(row) & set(_IMAGE_COLUMNS)) or not set(row) & set(_LABELS)
