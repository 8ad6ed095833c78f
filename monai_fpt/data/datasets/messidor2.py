"""Messidor-2: fundus photographs, grades 0 to 4 of diabetic retinopathy, two eyes of one patient in the pair list.

Three things come from three places: images from ADCIS (after a licence form), adjudicated grades from Kaggle, and which
two images are one examination from ``messidor-2.csv``, which comes with the images. Traps that are handled:

* Label files name ``IM000012.jpg`` where the file is ``IM000012.JPG``: names are matched without suffix and case.
* The grades' columns are ``image_id, adjudicated_dr_grade, ...`` or, in a mirror, ``id_code, diagnosis, ...``.
* Ungradable images have an empty grade or ``adjudicated_gradable`` 0: they are left out and counted.
* Nothing in a file name says which patient it is of. Without the pair list the split is image by image, and says so. A
  pair list may name images without suffix; one that names none of the images is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import FPTImageIndex, files_below, has_image_suffix, named_file, readable_name
from monai_fpt.data.datasets.grouping import groups_of_pairs
from monai_fpt.data.datasets.icdr import ICDR_GRADES, grade_of_cell
from monai_fpt.data.datasets.joining import FPTLabelJoin
from monai_fpt.data.datasets.label_files import column_of, header_of, read_cells, read_named_rows
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount

__all__ = ["Messidor2Dataset"]

_GRADES_OF = ("messidor_data.csv", "messidor_data.xlsx", "messidor-2.xlsx")
_PAIRS_OF = ("messidor-2.csv", "messidor2.csv", "messidor_2.csv")
_IMAGE_COLUMNS, _GRADE_COLUMNS = ("image_id", "id_code", "image"), ("adjudicated_dr_grade", "diagnosis")
_SPLITS_OF = "counted from the published lists of GDRBench"


class Messidor2Dataset(FPTPublicDataset):
    """Messidor-2, five grades. See :class:`~monai_fpt.data.datasets.base.FPTPublicDataset` for the arguments.

    Example:
        >>> from monai_fpt.data.datasets import Messidor2Dataset
        >>> Messidor2Dataset.classes[0], Messidor2Dataset.learning_rate
        ('no DR', 0.0002)
    """

    name = "messidor2"
    title = "Messidor-2"
    modality = "fundus photography"
    classes = ICDR_GRADES
    ordered = True
    group_key = "examination (row of messidor-2.csv)"
    licence = "research and education only, no redistribution (ADCIS licence form); the grades have Kaggle's terms"
    homepage = "https://www.adcis.net/en/third-party/messidor2/"
    citation = "Decenciere et al., Image Anal. Stereol. 2014; grades: Krause et al., Ophthalmology 2018"
    mean = (0.4844, 0.2238, 0.0758)
    std = (0.2939, 0.1472, 0.0635)
    learning_rate = 2e-4
    counts = (
        FPTPublishedCount(1748, "ADCIS: 874 examinations of two images", files=True),
        FPTPublishedCount(1744, _SPLITS_OF),
        FPTPublishedCount(1017, _SPLITS_OF, class_name="no DR"),
        FPTPublishedCount(270, _SPLITS_OF, class_name="mild NPDR"),
        FPTPublishedCount(347, _SPLITS_OF, class_name="moderate NPDR"),
        FPTPublishedCount(75, _SPLITS_OF, class_name="severe NPDR"),
        FPTPublishedCount(35, _SPLITS_OF, class_name="PDR"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "ADCIS; GDRBench's published lists",
        "statistics": "the authors' published configuration",
        "licence": "the ADCIS page; that of the Kaggle grades is unverified",
    }
    tree = """
messidor2/
  IMAGES/                  1,748 files, .png and .JPG
  messidor_data.csv        image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable
  messidor-2.csv           left;right
"""
    steps = (
        "ask for the images with the licence form at https://www.adcis.net/en/third-party/messidor2/",
        "join the parts (monai_fpt.data.datasets.merge_parts) and unpack the archive",
        "get messidor_data.csv from https://www.kaggle.com/datasets/google-brain/messidor2-dr-grades",
        "put it beside the images, and keep messidor-2.csv, which says what belongs to one patient",
    )

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        files = files_below(root)
        label_file = _label_file(files, root)
        index = FPTImageIndex(files, root, cls.title)
        if label_file is None or not index.images:
            raise cls.absent(root, "there are no images" if label_file else "there is no label file messidor_data.csv")
        rows = read_named_rows(label_file, cls.title)
        columns = tuple(rows[0][1]) if rows else header_of(label_file)
        image_column = column_of(columns, _IMAGE_COLUMNS, label_file, cls.title)
        grade_column = column_of(columns, _GRADE_COLUMNS, label_file, cls.title)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts, ordered=True)
        found.leakage = "both eyes of a patient may be in two sections"
        labels: list[tuple[str, int | None]] = []
        for number, row in rows:
            grade = grade_of_cell(row[grade_column], cls.title, label_file, number)
            ungradable = row.get("adjudicated_gradable") in ("0", "0.0")
            labels.append((row[image_column], None if ungradable else grade))
        join = FPTLabelJoin(found)
        join.add(index, label_file, labels)
        join.finish()
        _add_groups(found, files, root, cls.title)
        return found


def _label_file(files: Sequence[Path], root: Path) -> Path | None:
    """The file of grades, by its name, else by its columns."""
    named = named_file(files, _GRADES_OF, root, Messidor2Dataset.title)
    if named is not None:
        return named
    hits = []
    for path in (path for path in files if path.suffix.lower() == ".csv"):
        columns = header_of(path)
        fits = set(columns) & set(_IMAGE_COLUMNS) and set(columns) & set(_GRADE_COLUMNS)
        own = "messidor" in path.as_posix().casefold() or any(name.startswith("adjudicated") for name in columns)
        hits += [path] if fits and own else []
    if len(hits) > 1:
        raise ValueError(
            f"{Messidor2Dataset.title}: {len(hits)} files below {str(root)!r} could be the grades "
            f"({readable_name(hits[0], root)} and {readable_name(hits[1], root)}); call the right one "
            "messidor_data.csv."
        )
    return hits[0] if hits else None


def _add_groups(found: FPTFoundImages, files: Sequence[Path], root: Path, title: str) -> None:
    """Patients from the pair list, where there is one."""
    pair_file = named_file(files, _PAIRS_OF, root, title)
    if pair_file is None:
        found.warned.append("there is no pair list messidor-2.csv, which says what two images are of one patient")
        return
    stems = {item["key"]: _stem(item["key"]) for item in found.items}
    known = {_stem(path.as_posix()) for path in files if has_image_suffix(path)}
    rows = read_cells(pair_file, title)
    pairs = [[_stem(cell) for cell in row if has_image_suffix(Path(cell)) or _stem(cell) in known] for _, row in rows]
    pairs = [pair for pair in pairs if pair]
    group_of = groups_of_pairs(pairs, stems.values())
    paired = {name for pair in pairs for name in pair}
    for item in found.items:
        item["group"] = group_of[stems[item["key"]]]
    alone = [key for key, stem in stems.items() if stem not in paired]
    if stems and len(alone) == len(stems):
        raise ValueError(
            f"{title}: pair list {readable_name(pair_file, root)!r} names none of the {len(stems):,} images (its last "
            f"row is {rows[-1][1]}); copy the one that came with the images, or remove it, then patients are unknown."
        )
    if not any(len(pair) > 1 for pair in pairs):
        found.warned.append(f"no row of {pair_file.name} names two of the images, each counts as a patient of its own")
    if alone:
        found.warned.append(
            f"{len(alone):,} of {len(stems):,} images are not in {pair_file.name} (first {alone[0]!r}) and count as "
            "patients of their own"
        )


def _stem(name: str) -> str:
    """File name in lower case without folders and without the suffix of an image."""
    path = Path(name.replace("\\", "/"))
    return (path.stem if has_image_suffix(path) else path.name).casefold()
