"""CMMD: full-field digital mammograms in DICOM; benign or malignant.

The labels are a table with one row a **breast**, the images say in their headers whose breast they show. Traps that are
handled:

* Labels are joined on patient and side. By patient alone, 30 patients with a benign and a malignant breast would get
  wrong labels, and 1,458 images of the unlabelled other breast would be called cancer.
* ``unlabelled="drop"`` leaves that other breast out; ``"normal"`` makes it a third class, which is usual and not
  proven.
* Order and folder names tell neither side nor view: ``ImageLaterality`` and ``ViewCodeSequence`` do.
* The folders are those of the NBIA retriever (``manifest-.../CMMD/...``), of older releases or of our download.
* The table is a workbook or a CSV.
* Sources disagree on the licence, so the copy's own LICENSE file is printed.
* Headers are read at every start (5,202 small reads, with a bar); nothing is cached behind the user's back. Pixels:
  the files ask for a sigmoid window that turns black into grey; the reader's ``voi="auto"`` leaves it out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pydicom

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import files_below, named_file, readable_name
from monai_fpt.data.datasets.label_files import column_of, header_of, read_named_rows
from monai_fpt.data.datasets.obtain import obtain_files, root_lock
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile
from monai_fpt.data.datasets.tcia import NBIA_URL, obtain_collection

__all__ = ["CMMDDataset"]

_TABLES = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
_VIEW_OF = {"399162004": "CC", "399368009": "MLO"}  # SNOMED CT: cranio-caudal, medio-lateral oblique
_UNLABELLED = ("drop", "normal")
_HEADERS = "counted from the headers of all 5,202 files"
_TAGS = ["PatientID", "ImageLaterality", "Laterality", "ViewCodeSequence", "SOPInstanceUID"]
_LEAST_MATCH = 0.9


class CMMDDataset(FPTPublicDataset):
    """CMMD, benign or malignant.

    Args:
        root_dir: see :class:`~monai_fpt.data.datasets.base.FPTPublicDataset`, like what is not told here.
        section: see there.
        transform: see there.
        download: see there; about 22 GB in 1,775 series, an interrupted download goes on.
        seed: see there.
        split: see there.
        val_frac: see there.
        test_frac: see there.
        cache_num: see there.
        cache_rate: see there.
        num_workers: see there.
        progress: see there.
        copy_cache: see there.
        as_contiguous: see there.
        runtime_cache: see there.
        unlabelled: what the other breast of a labelled patient is: ``"drop"`` leaves it out, ``"normal"`` makes it
            class 2.
    """

    name = "cmmd"
    title = "CMMD"
    modality = "full-field digital mammography"
    classes = ("Benign", "Malignant")
    group_key = "PatientID"
    licence = (
        "stated differently in different places (CC BY 4.0, CC BY-NC 3.0); read the LICENSE file of the collection"
    )
    homepage = "https://www.cancerimagingarchive.net/collection/cmmd/"
    citation = "Cui et al., The Chinese Mammography Database, The Cancer Imaging Archive, 2021"
    mean = (0.1674, 0.1674, 0.1674)
    std = (0.1802, 0.1802, 0.1802)
    learning_rate = 5e-5
    base_url = NBIA_URL
    clinical_url: ClassVar[str] = (
        "https://wiki.cancerimagingarchive.net/download/attachments/70230508/CMMD_clinicaldata_revision.xlsx?api=v2"
    )
    source_files = (FPTSourceFile(_TABLES[0], clinical_url),)
    counts = (
        FPTPublishedCount(5202, _HEADERS, files=True),
        FPTPublishedCount(1112, _HEADERS, class_name="Benign"),
        FPTPublishedCount(2632, _HEADERS, class_name="Malignant"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "the clinical table joined with the headers of all files",
        "addresses": "seen in public download programs and in MONAI; no checksum is published",
        "statistics": "the authors' published configuration",
        "licence": "contradictory, so the copy's LICENSE file is printed",
    }
    tree = """
cmmd/
  CMMD_clinicaldata_revision.xlsx      ID1,LeftRight,Age,number,abnormality,classification,subtype
  CMMD/LICENSE
  CMMD/D1-0001/<study>/<series>/1-1.dcm ...
"""
    steps = (
        "open https://www.cancerimagingarchive.net/collection/cmmd/",
        "get the images with the NBIA Data Retriever",
        "get CMMD_clinicaldata_revision.xlsx and put it beside them",
    )
    options: ClassVar[Mapping[str, Any]] = {"unlabelled": "drop"}

    def __init__(
        self,
        root_dir: str | Path,
        section: str,
        transform: Sequence[Callable[..., Any]] | Callable[..., Any] = (),
        download: bool = False,
        seed: int = 0,
        split: str = "auto",
        val_frac: float = 0.1,
        test_frac: float = 0.2,
        cache_num: int = sys.maxsize,
        cache_rate: float = 0.0,
        num_workers: int | None = 1,
        progress: bool = True,
        copy_cache: bool = True,
        as_contiguous: bool = True,
        runtime_cache: bool = False,
        *,
        unlabelled: str = "drop",
    ) -> None:
        self.unlabelled = unlabelled
        super().__init__(
            root_dir, section, transform, download, seed, split, val_frac, test_frac, cache_num, cache_rate,
            num_workers, progress, copy_cache, as_contiguous, runtime_cache,
        )  # fmt: skip

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        unlabelled = options["unlabelled"]
        if unlabelled not in _UNLABELLED:
            raise ValueError(f"{cls.title}: unlabelled is {unlabelled!r}; choose one of {_UNLABELLED}.")
        files = files_below(root)
        table = _table_of(files, root, cls.title)
        images = _collection_images(files)
        if table is None or not images:
            raise cls.absent(root, "there are no .dcm files" if table else f"there is no {_TABLES[0]}")
        classes = (*cls.classes, "Normal") if unlabelled == "normal" else cls.classes
        found = FPTFoundImages(root, classes, leakage="views of one patient may be in two sections")
        normal = (FPTPublishedCount(1458, _HEADERS, class_name="Normal"),) if unlabelled == "normal" else ()
        found.counts = cls.counts + normal
        found.files = len(images)
        found.licence = _licence_of(files)
        breasts = _breasts_of(table, cls)
        _join(found, images, breasts, table, progress=progress)
        return found

    @classmethod
    def download_into(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> None:
        """See the base class; a complete copy is not asked for again."""
        files = files_below(root)
        has_table = _table_of(files, root, cls.title) is not None
        if not has_table:
            obtain_files((FPTSourceFile(_TABLES[0], cls.clinical_url),), cls.base_url, root, progress=progress)
        if len(_collection_images(files)) < cls.counts[0].number:
            with root_lock(root):
                obtain_collection("CMMD", "MG", root, base_url=cls.base_url, progress=progress)


def _table_of(files: Sequence[Path], root: Path, title: str) -> Path | None:
    """The clinical table, by its name, else a CSV with its columns."""
    named = named_file(files, _TABLES, root, title)
    if named is not None:
        return named
    hits = [
        p for p in files if p.suffix.lower() == ".csv" and {"id1", "leftright", "classification"} <= set(header_of(p))
    ]
    if len(hits) > 1:
        raise ValueError(
            f"{title}: {readable_name(hits[0], root)!r} and {readable_name(hits[1], root)!r} below {str(root)!r} could "
            "both be the "
            f"clinical table; call the right one {_TABLES[1]}."
        )
    return hits[0] if hits else None


def _collection_images(files: Sequence[Path]) -> list[Path]:
    """DICOM files below a folder called CMMD where there is one, else all."""
    images = [path for path in files if path.suffix.lower() == ".dcm"]
    own = [path for path in images if any(name.casefold() == "cmmd" for name in path.parts[:-1])]
    return own or images


def _licence_of(files: Sequence[Path]) -> str:
    """What the copy's own licence file begins with; empty where there is none."""
    own = [path for path in files if path.parent.name.casefold() == "cmmd"]
    for path in own or files:
        if path.stem.upper() in ("LICENSE", "LICENCE") and path.suffix.lower() in ("", ".txt", ".md"):
            lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
            first = next((line for line in lines if line), "")
            if first:
                return f"{first} (first line of {path.name})"
    return ""


def _breasts_of(table: Path, cls: type[CMMDDataset]) -> dict[tuple[str, str], tuple[int, dict[str, str]]]:
    """Label and facts of each (patient, side) of the clinical table."""
    rows = read_named_rows(table, cls.title)
    columns = tuple(rows[0][1]) if rows else ()
    for name in ("id1", "leftright", "classification"):
        column_of(columns, (name,), table, cls.title)
    label_of = {name.lower(): index for index, name in enumerate(cls.classes)}
    breasts: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
    for number, row in rows:
        key = (row["id1"], row["leftright"].upper()[:1])
        label = label_of.get(row["classification"].lower())
        if not key[0] or key[1] not in ("L", "R") or label is None:
            raise ValueError(
                f"{cls.title}: label file {table.name!r}, row {number} has patient {row['id1']!r}, side "
                f"{row['leftright']!r} and "
                f"class {row['classification']!r}; expected L or R and {' or '.join(cls.classes)}, so copy it again."
            )
        if breasts.get(key, (label,))[0] != label:
            raise ValueError(
                f"{cls.title}: label file {table.name!r}, row {number} contradicts an earlier row of breast {key}; "
                "copy it again."
            )
        facts = {name: row[name] for name in ("age", "abnormality", "subtype") if row.get(name)}
        breasts[key] = (label, facts)
    return breasts


def _join(
    found: FPTFoundImages,
    images: Sequence[Path],
    breasts: Mapping[tuple[str, str], tuple[int, dict[str, str]]],
    table: Path,
    *,
    progress: bool,
) -> None:
    """Labels by patient and side, which the headers name."""
    title, root = CMMDDataset.title, found.root
    patients = {patient for patient, _ in breasts}
    imaged: set[tuple[str, str]] = set()
    other_breast, strange, sideless = [], [], []
    first_of: dict[tuple[str, ...], Path] = {}
    for path in tqdm_bar(images, desc=f"{title} headers", progress=progress):
        patient, side, view, uid = _header(path, root)
        identity = (uid, patient, side, view)
        if uid and first_of.setdefault(identity, path) != path:
            raise ValueError(
                f"{title}: {readable_name(first_of[identity], root)!r} and {readable_name(path, root)!r} below "
                f"{str(root)!r} are the same "
                "image (SOPInstanceUID); name the folder of one copy as root_dir, or remove the other."
            )
        if patient not in patients:
            strange.append(readable_name(path, root))
        elif side not in ("L", "R"):
            sideless.append(readable_name(path, root))
        else:
            imaged.add((patient, side))
            label, facts = breasts.get((patient, side), (2, {}))
            if label == 2:
                other_breast.append(path)
                facts = next(known for (who, _), (_, known) in breasts.items() if who == patient)
                facts = {name: text for name, text in facts.items() if name == "age"}
            if label < len(found.classes):
                facts = {"laterality": side, "view": view, **facts}
                found.items.append(data_item(root, path, label, patient, facts=facts))
    absent = [breast for breast in breasts if breast not in imaged]
    if len(breasts) - len(absent) < _LEAST_MATCH * len(breasts):
        raise ValueError(
            f"{title}: only {len(breasts) - len(absent):,} of {len(breasts):,} rows of label file "
            f"{readable_name(table, root)!r} "
            f"find an image (not {absent[0]}, for example); the download is incomplete or the table another one, so "
            "check both."
        )
    found.missing += [f"breast {side} of patient {patient}" for patient, side in absent]
    found.extra += strange + sideless
    if other_breast:
        done = "are class Normal" if len(found.classes) == 3 else "are left out"
        found.said.append(f"{len(other_breast):,} images of the other, unlabelled breast of labelled patients {done}")
    if strange:
        found.warned.append(
            f"{len(strange):,} images are of patients without a row and are left out, first {strange[0]!r}"
        )
    if sideless:
        found.warned.append(f"{len(sideless):,} images do not say their side and are left out, first {sideless[0]!r}")


def _header(path: Path, root: Path) -> tuple[str, str, str, str]:
    """Patient, side (L or R), view (CC, MLO or empty) and identity of one file."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except Exception as error:  # whatever pydicom raises on broken bytes
        raise ValueError(
            f"{CMMDDataset.title}: the header of {readable_name(path, root)!r} cannot be read ({error}); get the file "
            "again."
        ) from error
    side = str(header.get("ImageLaterality", "") or header.get("Laterality", "") or "").upper()
    codes = header.get("ViewCodeSequence") or []
    view = _VIEW_OF.get(str(codes[0].get("CodeValue", "")), "") if len(codes) else ""
    return str(header.get("PatientID", "") or "").strip(), side, view, str(header.get("SOPInstanceUID", "") or "")
