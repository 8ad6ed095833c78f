"""DDR: fundus photographs, grades 0 to 4 of diabetic retinopathy, with an official split.

Traps that are handled:

* Labels are in ``DR_grading/{train,valid,test}.txt``, ``name label`` without a header; the middle one is ``valid``.
* Label 5 means ungradable: left out and counted.
* ``lesion_segmentation`` and ``lesion_detection`` have folders of the same names with other pictures: only
  ``DR_grading`` is looked into.
* No list of patients is published, so the official split leaks to an unknown extent. In a split of our own, images
  whose names are times less than five minutes apart stay together: probably eyes of one patient. Names like
  ``007-0004-000`` say nothing of the patient; their end is near to a grade, so names must never be learned from.
* The release is ten parts of one archive, and one part alone is no archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import FPTImageIndex, files_below, named_file, readable_name
from monai_fpt.data.datasets.grouping import groups_of_timestamps
from monai_fpt.data.datasets.icdr import ICDR_GRADES, grade_of_cell
from monai_fpt.data.datasets.joining import FPTLabelJoin
from monai_fpt.data.datasets.label_files import column_of, read_named_rows
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount

__all__ = ["DDRDataset"]

_SECTION_OF = {"train": "training", "valid": "validation", "test": "test"}
_SPLITS_OF = "counted from the published lists of GDRBench"
_RECALLED = "recalled from the paper"


class DDRDataset(FPTPublicDataset):
    """DDR, five grades. See :class:`~monai_fpt.data.datasets.base.FPTPublicDataset` for the arguments."""

    name = "ddr"
    title = "DDR"
    modality = "fundus photography"
    classes = ICDR_GRADES
    ordered = True
    official_split = True
    group_key = "none published; times less than 5 minutes apart in a split of our own"
    licence = "the publisher's repository has an MIT licence file; none is stated for the images, ask the publisher"
    homepage = "https://github.com/nkicsl/DDR-dataset"
    citation = "Li et al., Information Sciences 501, 2019"
    mean = (0.4237, 0.2609, 0.1284)
    std = (0.2948, 0.2017, 0.1367)
    learning_rate = 5e-4
    counts = (
        FPTPublishedCount(13673, "abstract of Li et al. 2019", files=True),
        FPTPublishedCount(12522, f"{_SPLITS_OF}, with one image that it lost", verified=False),
        FPTPublishedCount(6266, _RECALLED, verified=False, class_name="no DR"),
        FPTPublishedCount(630, _SPLITS_OF, class_name="mild NPDR"),
        FPTPublishedCount(4477, _SPLITS_OF, class_name="moderate NPDR"),
        FPTPublishedCount(236, _SPLITS_OF, class_name="severe NPDR"),
        FPTPublishedCount(913, _SPLITS_OF, class_name="PDR"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "abstract of Li et al. 2019; GDRBench's published lists; 6,266 of grade 0 is unverified",
        "sections": "6,835 / 2,733 / 4,105 images with the ungradable ones, unverified",
        "statistics": "the authors' published configuration",
        "licence": "the publisher's repository",
    }
    tree = """
DDR-dataset/
  DR_grading/
    train.txt  valid.txt  test.txt     name label
    train/  valid/  test/              .jpg files
"""
    steps = (
        "get the ten parts DDR-dataset.zip.001 to .010 by the links at https://github.com/nkicsl/DDR-dataset",
        "join them with monai_fpt.data.datasets.merge_parts(FOLDER)",
        "unpack DDR-dataset.zip and name its folder",
    )

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        files = files_below(root)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts, ordered=True)
        found.leakage = "no list of patients is published, both eyes of one may be in two sections"
        homes = sorted({path.parent for path in files if path.name.casefold() == "train.txt" and _is_home(path.parent)})
        if len(homes) > 1:
            raise ValueError(
                f"{cls.title}: {readable_name(homes[0], root)!r} and {readable_name(homes[1], root)!r} below "
                f"{str(root)!r} both "
                "hold train.txt and its images; name the folder of one copy as root_dir."
            )
        if homes:
            _read_official(found, homes[0], files, cls.title)
        else:
            _read_mirror(found, files, cls)
        found.groups_are_suspected = True
        stems = {item["key"]: Path(item["key"]).stem for item in found.items}
        groups = groups_of_timestamps(stems, timedelta(minutes=5))
        for item in found.items:
            item["group"] = groups[item["key"]]
        return found


def _is_home(folder: Path) -> bool:
    """Whether a folder is ``DR_grading``, by its name or by what it holds."""
    return folder.name.casefold() == "dr_grading" or (
        (folder / "train").is_dir() and any((folder / name).is_file() for name in ("valid.txt", "test.txt"))
    )


def _read_official(found: FPTFoundImages, home: Path, files: Sequence[Path], title: str) -> None:
    """The three lists and their folders."""
    join = FPTLabelJoin(found)
    for part, section in _SECTION_OF.items():
        label_file = named_file((path for path in files if path.parent == home), [f"{part}.txt"], home, title)
        if label_file is None:
            found.warned.append(f"there is no {part}.txt, the official {section} section is absent")
            continue
        inside = [p for p in files if p.is_relative_to(home) and p.relative_to(home).parts[0].casefold() == part]
        join.add(FPTImageIndex(inside, found.root, title), label_file, _rows_of(label_file, title), section)
    join.finish()


def _rows_of(label_file: Path, title: str) -> list[tuple[str, int | None]]:
    """Image name and grade of each line, None for ungradable ones."""
    rows: list[tuple[str, int | None]] = []
    for number, line in enumerate(label_file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 2:
            raise ValueError(
                f"{title}: label file {label_file.name!r}, row {number} is {line!r}, not a name and a label; copy the "
                "file "
                "again."
            )
        rows.append((cells[0], grade_of_cell(cells[1], title, label_file, number, ungradable="5")))
    return rows


def _read_mirror(found: FPTFoundImages, files: Sequence[Path], cls: type[FPTPublicDataset]) -> None:
    """A repackaging with one table ``DR_grading.csv`` and without the official sections."""
    table = named_file(files, ["DR_grading.csv"], found.root, cls.title)
    if table is None:
        parts = [path for path in files if path.name.endswith(".zip.001")]
        if parts:
            raise cls.absent(found.root, f"{parts[0].name} is one part of an archive that must be joined and unpacked")
        raise cls.absent(found.root, "there is no folder DR_grading with train.txt")
    rows = read_named_rows(table, cls.title)
    columns = tuple(rows[0][1]) if rows else ()
    image_column = column_of(columns, ("id_code", "image"), table, cls.title)
    grade_column = column_of(columns, ("diagnosis", "label"), table, cls.title)
    join = FPTLabelJoin(found)
    grades = [grade_of_cell(row[grade_column], cls.title, table, number, ungradable="5") for number, row in rows]
    names = [row[image_column] for _, row in rows]
    join.add(FPTImageIndex(files, found.root, cls.title), table, list(zip(names, grades, strict=True)))
    join.finish()
    found.warned.append("this is a repackaging without the official sections, its images may be preprocessed")
