"""COVID chest X-rays (``covid-cxr-image-dataset-research``): covid, normal or viral pneumonia.

A compilation of several public collections, so good for comparisons and for nothing else: where an image is from goes
with its class. Traps that are handled:

* Files are JPEG, PNG, JFIF and others, of any mode and some in colour: every file in a class folder is counted, and
  what cannot be read is named.
* There are no patients, and the same picture may be there twice. ``group_by="content"`` keeps pictures together that
  look the same after shrinking (:mod:`monai_fpt.data.datasets.likeness`).
* Repackagings have ``COVID_IEEE/train`` and ``/test`` of an unknown origin. They are refused rather than mixed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import files_below, has_image_suffix, readable_name
from monai_fpt.data.datasets.likeness import groups_of_likeness
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount
from monai_fpt.data.split import section_of_name

__all__ = ["COVIDCXRDataset"]

_README = "a README of a user of the data set"
_GROUPINGS = (None, "content")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")


class COVIDCXRDataset(FPTPublicDataset):
    """COVID chest X-rays, three classes.

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
        group_by: ``"content"`` reads every image and groups those that look the same; by default nothing is grouped.
    """

    name = "covid"
    title = "COVID chest X-rays"
    modality = "chest X-ray"
    classes = ("covid", "normal", "virus")
    group_key = "none published; likeness with group_by='content'"
    licence = "see https://www.kaggle.com/datasets/sid321axn/covid-cxr-image-dataset-research; none was seen"
    homepage = "https://www.kaggle.com/datasets/sid321axn/covid-cxr-image-dataset-research"
    citation = "the Kaggle page above"
    mean = (0.4983, 0.4986, 0.4989)
    std = (0.2426, 0.2426, 0.2426)
    learning_rate = 1e-4
    counts = (
        FPTPublishedCount(1823, _README),
        FPTPublishedCount(536, _README, class_name="covid"),
        FPTPublishedCount(668, _README, class_name="normal"),
        FPTPublishedCount(619, _README, class_name="virus"),
    )
    sources: ClassVar[Mapping[str, str]] = {
        "counts": _README,
        "statistics": "the authors' published configuration",
        "licence": "unverified",
    }
    tree = """
COVID_IEEE/
  covid/      536 files, .jpg, .jpeg, .png, .jfif
  normal/     668
  virus/      619
"""
    steps = (
        "get the archive of https://www.kaggle.com/datasets/sid321axn/covid-cxr-image-dataset-research",
        "unpack it and name its folder",
    )
    options: ClassVar[Mapping[str, Any]] = {"group_by": None}

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
        group_by: str | None = None,
    ) -> None:
        self.group_by = group_by
        super().__init__(
            root_dir, section, transform, download, seed, split, val_frac, test_frac, cache_num, cache_rate,
            num_workers, progress, copy_cache, as_contiguous, runtime_cache,
        )  # fmt: skip

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        group_by = options["group_by"]
        if group_by not in _GROUPINGS:
            raise ValueError(f"{cls.title}: group_by is {group_by!r}; choose one of {_GROUPINGS}.")
        files = files_below(root)
        home = _home_of(files, root, cls)
        found = FPTFoundImages(root, cls.classes, counts=cls.counts)
        found.leakage = "no patients are published and the same picture may occur twice, see group_by='content'"
        left_out: Counter[str] = Counter()
        for path in (path for path in files if path.is_relative_to(home)):
            folder = path.relative_to(home).parts[0].casefold()
            if len(path.relative_to(home).parts) < 2 or folder not in cls.classes:
                found.extra += [readable_name(path, root)] if has_image_suffix(path) else []
            elif has_image_suffix(path) or _begins_like_image(path):
                found.items.append(data_item(root, path, cls.classes.index(folder)))
            else:
                left_out[path.suffix.lower() or path.name] += 1
        found.files = len(found.items) + len(found.extra)
        if left_out:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
            found.warned.append(
                f"{left_out.total():,} files in the class folders are of no readable kind ({kinds}) and are left out"
            )
        if group_by == "content":
            groups = groups_of_likeness({i["key"]: Path(i["image"]) for i in found.items}, progress=progress)
            for item in found.items:
                item["group"] = groups[item["key"]]
            alike = len(found.items) - len(set(groups.values()))
            found.said.append(f"{alike:,} images look like another one and stay in its section")
        return found


def _home_of(files: Sequence[Path], root: Path, cls: type[FPTPublicDataset]) -> Path:
    """The folder of the class folders."""
    homes: dict[Path, set[str]] = {}
    for path in files:
        for folder in path.relative_to(root).parents:
            if folder.name.casefold() in cls.classes:
                homes.setdefault((root / folder).parent, set()).add(folder.name.casefold())
    whole = sorted(home for home, names in homes.items() if "covid" in names and len(names) > 1)
    repacked = [home for home in whole if section_of_name(home.name) is not None]
    if repacked:
        raise ValueError(
            f"{cls.title}: {readable_name(repacked[0], root)!r} below {str(root)!r} is a repackaging with a split of "
            "unknown origin, "
            "which is not mixed with the original; read it as section folders (build_data_list), or get the original."
        )
    if len(whole) > 1:
        raise ValueError(
            f"{cls.title}: {readable_name(whole[0], root)!r} and {readable_name(whole[1], root)!r} below {str(root)!r} "
            "both hold the "
            "class folders; name one of them as root_dir."
        )
    if not whole and root.name.casefold() in cls.classes and any(path.parent == root for path in files):
        raise ValueError(f"{cls.title}: {str(root)!r} is one class folder; name the folder above it as root_dir.")
    if not whole:
        raise cls.absent(root, f"there are no class folders {', '.join(cls.classes)}")
    return whole[0]


def _begins_like_image(path: Path) -> bool:
    """Whether a file of an unknown suffix begins as PNG, JPEG, BMP or TIFF files do."""
    with path.open("rb") as file:
        return file.read(4).startswith(_MAGIC)
