"""MedMNIST+: the twelve two-dimensional subsets at 64, 128 and 224 pixels, with official sections, by URL and MD5.

The .npz file is unpacked once to PNG files, so everything downstream sees files as with every other data set, and
nothing is held in memory. Decisions:

* ``chestmnist`` has several labels an image; the grades of ``retinamnist`` are ordered; two classes are two classes.
* A .npz file that a user put there is unpacked too; where its MD5 is not the published one, every load warns of it and
  a check does not pass. A downloaded file must have it. The folder notes of which file it was made
  (:mod:`~monai_fpt.data.datasets.npz_source`); another file beside it is an error.
* ``dermamnist``'s official sections tear lesions apart, which no one can mend without the lesion numbers: it is said.
* The class order of ``dermamnist`` is alphabetical, not that of ISIC 2018.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import files_below, named_file, readable_name
from monai_fpt.data.datasets.label_files import read_named_rows
from monai_fpt.data.datasets.medmnist_facts import (
    MEDMNIST_RECORD,
    MEDMNIST_SIZES,
    MEDMNIST_SUBSETS,
    FPTMedMNISTSubset,
)
from monai_fpt.data.datasets.npz_images import unpack_npz
from monai_fpt.data.datasets.npz_source import agreed_source_md5
from monai_fpt.data.datasets.obtain import obtain_files, root_lock
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount, FPTSourceFile

__all__ = ["MedMNISTPlusDataset"]

_SECTION_OF = {"train": "training", "val": "validation", "test": "test"}
_TABLE = "the table of the package medmnist 3.0.2"


class MedMNISTPlusDataset(FPTPublicDataset):
    """One subset of MedMNIST+ at one size.

    Args:
        root_dir: see :class:`~monai_fpt.data.datasets.base.FPTPublicDataset`, like what is not told here.
        section: see there.
        transform: see there.
        download: see there.
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
        subset: a name of ``MEDMNIST_SUBSETS``, such as ``"pathmnist"``.
        size: 64, 128 or 224 pixels.

    Example:
        >>> from monai_fpt.data.datasets import MedMNISTPlusDataset
        >>> train = MedMNISTPlusDataset("data", "training", download=True, subset="breastmnist")  # doctest: +SKIP
    """

    name = "medmnist"
    title = "MedMNIST+"
    modality = "several"
    official_split = True
    group_key = "none published"
    licence = "CC BY 4.0; dermamnist CC BY-NC 4.0"
    homepage = "https://medmnist.com"
    citation = "Yang et al., MedMNIST v2, Sci. Data 10, 2023"
    base_url = MEDMNIST_RECORD
    source_files = tuple(
        FPTSourceFile(f"{subset}_{size}.npz", f"{subset}_{size}.npz?download=1", md5=facts.md5[size])
        for subset, facts in MEDMNIST_SUBSETS.items()
        for size in MEDMNIST_SIZES
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": _TABLE,
        "addresses": f"{_TABLE}, with MD5",
        "classes": _TABLE,
        "licence": _TABLE,
        "statistics": "none published for FPT+",
    }
    tree = """
medmnist/
  pathmnist_224.npz            as downloaded
  pathmnist_224/               made from it
    labels.csv  source.json
    train/000000.png ...  val/  test/
"""
    steps = ("get the .npz file from https://zenodo.org/records/10519652", "put it into the folder under its own name")
    options: ClassVar[Mapping[str, Any]] = {"subset": None, "size": 224}

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
        subset: str,
        size: int = 224,
    ) -> None:
        self.subset, self.size = subset, size
        super().__init__(
            root_dir, section, transform, download, seed, split, val_frac, test_frac, cache_num, cache_rate,
            num_workers, progress, copy_cache, as_contiguous, runtime_cache,
        )  # fmt: skip

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        name, facts = _chosen(options, cls)
        multilabel = facts.task == "multi-label"
        found = FPTFoundImages(
            root,
            facts.classes,
            task="multilabel" if multilabel else "multiclass",
            ordered=facts.task == "ordinal-regression",
            licence=facts.licence,
            leakage="no patients are published",
        )
        found.counts = tuple(
            FPTPublishedCount(number, _TABLE, section=section)
            for section, number in zip(_SECTION_OF.values(), facts.images, strict=True)
        )
        found.said.append(f"subset {options['subset']} at {options['size']} pixels")
        _read_folder(found, _unpacked_folder(found, name, facts, options["size"], cls, progress=progress), cls.title)
        if name.startswith("dermamnist"):
            found.warned.append(
                "the official sections of dermamnist have pictures of one lesion on both sides, scores are too good"
            )
        return found

    @classmethod
    def download_into(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> None:
        """See the base class; one file is fetched, unless it was unpacked already, completely and from that file."""
        name, _ = _chosen(options, cls)
        if _folder_of(files_below(root), name, root, cls.title) is None:
            obtain_files(cls.files_of(options), cls.base_url, root, progress=progress)
            return
        for phrase in cls.find(root, options, progress=progress).corrupt:
            raise RuntimeError(f"{cls.title}: {phrase}; remove the folder and the file, then it is fetched.")

    @classmethod
    def files_of(cls, options: Mapping[str, Any]) -> tuple[FPTSourceFile, ...]:
        """See the base class; the one file of the subset and size."""
        name, _ = _chosen(options, cls)
        return tuple(file for file in cls.source_files if file.name == f"{name}.npz")


def _chosen(options: Mapping[str, Any], cls: type[FPTPublicDataset]) -> tuple[str, FPTMedMNISTSubset]:
    """Name with size, and facts, of the subset that was asked for."""
    subset, size = options["subset"], options["size"]
    if subset not in MEDMNIST_SUBSETS:
        raise ValueError(f"{cls.title}: subset is {subset!r}; choose one of {list(MEDMNIST_SUBSETS)}.")
    if size not in MEDMNIST_SIZES:
        raise ValueError(f"{cls.title}: size is {size!r}; choose one of {MEDMNIST_SIZES}.")
    return f"{subset}_{size}", MEDMNIST_SUBSETS[subset]


def _folder_of(files: Sequence[Path], name: str, root: Path, title: str) -> Path | None:
    """The unpacked folder; ValueError where there are several."""
    tables = [path for path in files if path.name == "labels.csv" and path.parent.name == name]
    if len(tables) > 1:
        raise ValueError(
            f"{title}: {len(tables)} folders called {name!r} lie below {str(root)!r} "
            f"({readable_name(tables[0].parent, root)} and {readable_name(tables[1].parent, root)}); name the folder "
            "of one copy as root_dir, or remove the other."
        )
    return tables[0].parent if tables else None


def _unpacked_folder(
    found: FPTFoundImages,
    name: str,
    facts: FPTMedMNISTSubset,
    size: int,
    cls: type[FPTPublicDataset],
    *,
    progress: bool,
) -> Path:
    """The folder of PNG files, made of the .npz file where it is not there yet, and in agreement with it."""
    files = files_below(found.root)
    archive = named_file(files, [f"{name}.npz"], found.root, cls.title)
    folder = _folder_of(files, name, found.root, cls.title)
    if folder is None and archive is None:
        raise cls.absent(found.root, f"there is no {name}.npz")
    if folder is None:
        assert archive is not None
        folder = archive.parent / name
        with root_lock(archive.parent):
            if not (folder / "labels.csv").is_file():
                unpack_npz(
                    archive,
                    folder,
                    size=size,
                    channels=facts.channels,
                    classes=facts.classes,
                    multilabel=found.task == "multilabel",
                    progress=progress,
                )
    md5, shown = agreed_source_md5(folder, archive, cls.title), readable_name(folder, found.root)
    if not md5:
        found.corrupt.append(f"folder {shown} does not say of which .npz file it was made, its labels may be wrong")
    elif md5 != facts.md5[size]:
        found.corrupt.append(
            f"the .npz file that folder {shown} was made of has not the published MD5 {facts.md5[size]} but {md5}, it "
            "is another version or was changed"
        )
    return folder


def _read_folder(found: FPTFoundImages, folder: Path, title: str) -> None:
    """Items of the table; every image it names is there."""
    there = {path for path in files_below(folder) if path.suffix.lower() == ".png"}
    index_of = {name: index for index, name in enumerate(found.classes)}
    for number, row in read_named_rows(folder / "labels.csv", title):
        path = folder / row["image"]
        label: int | list[float] | None
        if found.task == "multilabel":
            label = [{"0": 0.0, "1": 1.0}.get(row.get(name.lower(), ""), -1.0) for name in found.classes]
        else:
            label = index_of.get(row.get("label", ""))
        if row.get("split") not in _SECTION_OF or label is None or (isinstance(label, list) and -1.0 in label):
            raise ValueError(
                f"{title}: {readable_name(folder, found.root)}/labels.csv, row {number} is {list(row.values())}, not "
                "image, split "
                "and label; remove the folder, it is made anew."
            )
        if path not in there:
            found.missing.append(row["image"])
            continue
        item = data_item(found.root, path, label)
        found.items.append(item)
        found.sections[item["key"]] = _SECTION_OF[row["split"]]
    if found.missing:
        raise RuntimeError(
            f"{title}: folder {str(folder)!r} is half there, {len(found.missing):,} images of its labels.csv are "
            "missing, first "
            f"{found.missing[0]!r}; remove the folder, it is made anew from the .npz file."
        )
    used = {Path(item["image"]) for item in found.items}
    found.extra = [readable_name(path, found.root) for path in sorted(there - used)]
    found.files = len(there)
