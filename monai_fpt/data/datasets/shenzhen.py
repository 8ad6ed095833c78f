"""Shenzhen chest X-rays (ChinaSet, the paper's CHNCXR): normal or tuberculosis, one image a patient.

Traps that are handled:

* The label is the last digit of the name, ``CHNCXR_0001_0.png`` normal and ``CHNCXR_0327_1.png`` tuberculosis. Masks
  (``..._mask.png``) and ``Thumbs.db`` are no images.
* Mirrors nest ``ChinaSet_AllFiles`` in itself. Two copies of one image are an error.
* Palette and colour files are read as pictures by our reader, where a plain array read gives palette numbers.
* Readings begin with sex and age in free text (``male 45yrs``); what cannot be understood stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import files_below, has_image_suffix, readable_name
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile

__all__ = ["ShenzhenCXRDataset"]

_IMAGE = re.compile(r"chncxr_(?P<number>\d{4})_(?P<label>[01])\.png", re.IGNORECASE)
_SEX = re.compile(r"\b(?P<sex>female|male|f|m)\b", re.IGNORECASE)
_AGE = re.compile(r"(?P<age>\d+(?:\.\d+)?)\s*-?\s*(?P<unit>y|m|w|d)?", re.IGNORECASE)
_YEARS = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_PAGE = "the collection's page and a loader of it"


class ShenzhenCXRDataset(FPTPublicDataset):
    """Normal or tuberculosis. See :class:`~monai_fpt.data.datasets.base.FPTPublicDataset` for the arguments."""

    name = "chncxr"
    title = "Shenzhen chest X-rays"
    modality = "chest X-ray"
    classes = ("normal", "tuberculosis")
    group_key = "number in the file name"
    licence = (
        "none is stated; acknowledge the National Library of Medicine and Shenzhen No. 3 Hospital, cite Jaeger 2014 "
        "and "
        "Candemir 2014"
    )
    homepage = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Shenzhen-Hospital-CXR-Set/"
    citation = "Jaeger et al., Quant. Imaging Med. Surg. 4, 2014; Candemir et al., IEEE Trans. Med. Imaging 33, 2014"
    mean = (0.6105, 0.6105, 0.6105)
    std = (0.2585, 0.2585, 0.2585)
    learning_rate = 5e-4
    base_url = "https://openi.nlm.nih.gov/imgs/collections/"
    source_files = (
        FPTSourceFile("ChinaSet_AllFiles.zip", "ChinaSet_AllFiles.zip", folder="ChinaSet_AllFiles", images=662),
    )
    counts = (
        FPTPublishedCount(662, _PAGE),
        FPTPublishedCount(326, _PAGE, class_name="normal"),
        FPTPublishedCount(336, _PAGE, class_name="tuberculosis"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": _PAGE,
        "addresses": "seen in public download programs; no checksum is published",
        "groups": "one image a patient, unverified",
        "readings": "their form is unverified",
        "statistics": "the authors' published configuration",
        "licence": "no formal licence was found",
    }
    tree = """
ChinaSet_AllFiles/
  CXR_png/             CHNCXR_0001_0.png ... CHNCXR_0662_1.png
  ClinicalReadings/    CHNCXR_0001_0.txt ...
"""
    steps = (
        "open https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Shenzhen-Hospital-CXR-Set/",
        "get CXR_png and ClinicalReadings, or ChinaSet_AllFiles.zip",
        "unpack and name the folder",
    )

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        files = files_below(root)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts)
        found.leakage = "there is one image a patient, so no leak is expected"
        readings = {path.stem.casefold(): path for path in files if path.suffix.lower() == ".txt"}
        first_of: dict[str, Path] = {}
        number_of: dict[str, str] = {}
        for path in files:
            match = _IMAGE.fullmatch(path.name)
            if match is None:
                continue
            twin = first_of.setdefault(path.stem.casefold(), path)
            if twin != path:
                raise ValueError(
                    f"{cls.title}: {readable_name(twin, root)!r} and {readable_name(path, root)!r} below {str(root)!r} "
                    "have the same "
                    "name; name the folder of one copy as root_dir, or remove the other."
                )
            if number_of.setdefault(match["number"], match["label"]) != match["label"]:
                raise ValueError(
                    f"{cls.title}: number {match['number']} below {str(root)!r} has label 0 and label 1; get the files "
                    "again."
                )
            reading = readings.get(path.stem.casefold())
            facts = sex_and_age(reading) if reading is not None else {}
            found.items.append(data_item(root, path, int(match["label"]), match["number"], facts=facts))
        if not found.items:
            raise cls.absent(root, "there is no image like CHNCXR_0001_0.png")
        folders = {Path(item["image"]).parent for item in found.items}
        others = [p for p in files if p.parent in folders and p.stem.casefold() not in first_of and has_image_suffix(p)]
        masks = [path for path in others if "mask" in path.stem.casefold()]
        found.extra = [readable_name(path, root) for path in others if path not in masks]
        found.files = len(found.items) + len(found.extra)
        if masks:
            found.said.append(f"{len(masks):,} mask files are no images and are left out")
        return found


def sex_and_age(reading: Path) -> dict[str, str]:
    """Sex (``male``, ``female``) and age in years of a reading's first line, where they can be understood.

    Args:
        reading: the text file.
    """
    lines = reading.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    facts = {}
    sex, age = _SEX.search(first), _AGE.search(first)
    if sex:
        facts["sex"] = {"f": "female", "m": "male"}.get(sex["sex"].lower(), sex["sex"].lower())
    if age:
        years = float(age["age"]) * _YEARS[(age["unit"] or "y").lower()]
        facts["age"] = f"{years:.2f}".rstrip("0").rstrip(".")
    return facts
