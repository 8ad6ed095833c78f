"""Mini-DDSM: digitised film mammograms; normal, benign or cancer.

Two releases have this name: the first ("v1", 9,684 smaller images) and the complete one ("v2", 7,808 images of 1,952
cases, as 16-bit PNG and as 8-bit JPEG in two trees of the same names). Traps that are handled:

* Masks lie beside the images (``..._Mask.png``, ``..._MASK2.jpg``, ``Mask_....png``), and so do other files. What is no
  mammogram by its whole name is no mammogram.
* The patient is the name up to the dot, ``C_0001_1``; folder numbers occur again under another status.
* The status is that of the case. ``label_level="breast"`` labels a breast of a benign or cancer case by it only where a
  contour was drawn on one of its views and calls the other breast normal, which is usual and not proven.
* The letter of the name is the digitiser, and normal cases come from two of the four: report results by ``source``.
* One variant is read, never both: 16-bit PNG where it is there, else 8-bit JPEG.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.files import files_below, has_image_suffix, named_file, readable_name
from monai_fpt.data.datasets.label_files import NamedRows, column_of, read_named_rows
from monai_fpt.data.datasets.published import FPTFoundImages, FPTPublishedCount

__all__ = ["MiniDDSMDataset"]

_VIEW_FILE = re.compile(
    r"(?P<case>(?P<source>[ABCD])_\d{4}_1)\.(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)\.(png|jpg|jpeg)", re.IGNORECASE
)
_MASK_MARKS = re.compile(r"^mask_|_mask\d*$")
_VARIANTS = ("png16", "jpeg8")
_LEVELS = ("case", "breast")
_LISTING = "counted from a complete listing of release v2"
_STATUS_OF = {"normal": "Normal", "benign": "Benign", "cancer": "Cancer"}


def _counts_of(number: Mapping[str, int], source: str, verified: bool) -> tuple[FPTPublishedCount, ...]:
    total = FPTPublishedCount(sum(number.values()), source, verified)
    return total, *(FPTPublishedCount(n, source, verified, class_name=name) for name, n in number.items())


_V2 = {
    "case": _counts_of({"Normal": 2408, "Benign": 2684, "Cancer": 2716}, _LISTING, verified=True),
    "breast": _counts_of(
        {"Normal": 4888, "Benign": 1440, "Cancer": 1480}, "counted from DataWMask.xlsx", verified=True
    ),
}
_V1 = _counts_of({"Normal": 2728, "Benign": 3360, "Cancer": 3596}, "release v1, if this is it", verified=False)


class MiniDDSMDataset(FPTPublicDataset):
    """Mini-DDSM, three classes.

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
        label_level: ``"case"`` (the paper's: all four views have the status of the case) or ``"breast"``.
        variant: ``"png16"`` or ``"jpeg8"``; by default the first of them that is there.
    """

    name = "mini_ddsm"
    title = "Mini-DDSM"
    modality = "film mammography"
    classes = ("Normal", "Benign", "Cancer")
    group_key = "case, such as C_0001_1"
    licence = "see https://www.kaggle.com/datasets/cheddad/miniddsm2; DDSM is free for research with citation"
    homepage = "https://www.kaggle.com/datasets/cheddad/miniddsm2"
    citation = "Lekamlage et al., Mini-DDSM, ICDLT 2020"
    mean = (0.2027, 0.2027, 0.2027)
    std = (0.2247, 0.2247, 0.2247)
    learning_rate = 1e-3
    counts = _V2["case"]
    sources: ClassVar[Mapping[str, str]] = {
        "counts": "a complete listing of release v2 and its DataWMask.xlsx; release v1 is unverified",
        "statistics": "the authors' published configuration",
        "licence": "unverified",
    }
    tree = """
MINI-DDSM/
  MINI-DDSM-Complete-PNG-16/
    Normal|Benign|Cancer/0001/C_0001_1.LEFT_CC.png ...      four views a case, masks beside them
  MINI-DDSM-Complete-JPEG-8/
    DataWMask.xlsx
    Normal|Benign|Cancer/0001/C_0001_1.LEFT_CC.jpg ...
"""
    steps = (
        "get the archive of https://www.kaggle.com/datasets/cheddad/miniddsm2",
        "unpack it and name its folder",
    )
    options: ClassVar[Mapping[str, Any]] = {"label_level": "case", "variant": None}

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
        label_level: str = "case",
        variant: str | None = None,
    ) -> None:
        self.label_level, self.variant = label_level, variant
        super().__init__(
            root_dir, section, transform, download, seed, split, val_frac, test_frac, cache_num, cache_rate,
            num_workers, progress, copy_cache, as_contiguous, runtime_cache,
        )  # fmt: skip

    @classmethod
    def find(cls, root: Path, options: Mapping[str, Any], *, progress: bool) -> FPTFoundImages:
        """See the base class."""
        level, variant = options["label_level"], options["variant"]
        if level not in _LEVELS:
            raise ValueError(f"{cls.title}: label_level is {level!r}; choose one of {_LEVELS}.")
        if variant is not None and variant not in _VARIANTS:
            raise ValueError(f"{cls.title}: variant is {variant!r}; choose one of {_VARIANTS}, or leave it out.")
        files = files_below(root)
        found = FPTFoundImages(root, cls.classes, leakage="the four views of a case may be in different sections")
        home, kind = _chosen_tree(_trees_of(files), variant, found, cls)
        found.counts = _V2[level] if kind else _V1
        rows = _table_rows(files, found, cls.title)
        inside = [path for path in files if path.is_relative_to(home)]
        _add_views(found, inside, home, _facts_by_name(rows), cls.title)
        if level == "breast":
            _label_by_breast(found, _contoured_breasts(rows, inside), cls.title)
        return found


def _trees_of(files: Sequence[Path]) -> dict[Path, str]:
    """Folders that hold the three status folders, with their variant; empty text for an unnamed release."""
    trees: dict[Path, str] = {}
    for path in files:
        if not _VIEW_FILE.fullmatch(path.name):
            continue
        status = next((folder for folder in path.parents if folder.name.casefold() in _STATUS_OF), None)
        if status is not None:
            name = status.parent.name.casefold()
            trees[status.parent] = "png16" if "png-16" in name else "jpeg8" if "jpeg-8" in name else ""
    return trees


def _chosen_tree(
    trees: Mapping[Path, str], variant: str | None, found: FPTFoundImages, cls: type[FPTPublicDataset]
) -> tuple[Path, str]:
    """The tree that is read, and its variant."""
    if not trees:
        raise cls.absent(found.root, "there is no image like Normal/0001/A_0001_1.LEFT_CC.png")
    kinds = sorted(set(trees.values()))
    kind = variant if variant is not None else next(k for k in (*_VARIANTS, "") if k in kinds)
    homes = [home for home, own in trees.items() if own == kind]
    if not homes:
        raise ValueError(
            f"{cls.title}: there is no variant {variant!r} below {str(found.root)!r}, only "
            f"{[k or 'an unnamed one' for k in kinds]}"
            "; choose another variant, or leave it out."
        )
    if len(homes) > 1:
        raise ValueError(
            f"{cls.title}: {readable_name(homes[0], found.root)!r} and {readable_name(homes[1], found.root)!r} below "
            f"{str(found.root)!r} both hold images of variant {kind or 'unnamed'!r}; name one of them as root_dir."
        )
    found.said.append(
        f"variant {kind or 'unnamed, perhaps release v1'}, read from {readable_name(homes[0], found.root)!r}"
    )
    return homes[0], kind


def _table_rows(files: Sequence[Path], found: FPTFoundImages, title: str) -> NamedRows:
    """Rows of DataWMask.xlsx, where it is there; its paths have backslashes."""
    table = named_file(files, ["DataWMask.xlsx", "DataWMask.csv"], found.root, title)
    if table is None:
        return []
    rows = read_named_rows(table, title)
    for name in ("filename", "status", "tumour_contour"):
        column_of(tuple(rows[0][1]) if rows else (), (name,), table, title)
    return rows


def _facts_by_name(rows: NamedRows) -> dict[str, dict[str, str]]:
    """Status, age and density of each image name without suffix, in lower case."""
    facts = {}
    for _, row in rows:
        known = {"status": row["status"], "age": row.get("age", ""), "density": row.get("density", "")}
        facts[Path(row["filename"]).stem.casefold()] = {k: "" if v.lower() == "nan" else v for k, v in known.items()}
    return facts


def _add_views(
    found: FPTFoundImages, inside: Sequence[Path], home: Path, facts_of: Mapping[str, Mapping[str, str]], title: str
) -> None:
    """Every mammogram of the tree with the status of its folder."""
    masks = 0
    status_of: dict[str, str] = {}
    for path in inside:
        match = _VIEW_FILE.fullmatch(path.name)
        folder = path.relative_to(home).parts[0]
        if match is None or folder.casefold() not in _STATUS_OF:
            if has_image_suffix(path):
                is_mask = "mask" in path.stem.casefold()
                masks += is_mask
                found.extra += [] if is_mask else [readable_name(path, found.root)]
            continue
        case, status = match["case"].upper(), _STATUS_OF[folder.casefold()]
        if status_of.setdefault(case, status) != status:
            raise ValueError(
                f"{title}: case {case} lies in {status_of[case]!r} and in {status!r} below {str(home)!r}; a case has "
                "one status, "
                "so copy the tree again."
            )
        told = facts_of.get(path.stem.casefold(), {})
        if told and told["status"].casefold() != status.casefold():
            raise ValueError(
                f"{title}: image {readable_name(path, found.root)!r} lies in {folder!r}, DataWMask.xlsx has "
                f"{told['status']!r}; "
                "copy both again."
            )
        facts = {
            "laterality": match["side"][0].upper(),
            "view": match["view"].upper(),
            "source": match["source"].upper(),
        }
        facts |= {name: told[name] for name in ("age", "density") if told}
        found.items.append(data_item(found.root, path, found.classes.index(status), case, facts=facts))
    found.files = len(found.items) + len(found.extra)
    if masks:
        found.said.append(f"{masks:,} mask files are no images and are left out")
    named = {Path(item["key"]).stem.casefold() for item in found.items}
    found.missing += [name for name in facts_of if name not in named]


def _contoured_breasts(rows: NamedRows, inside: Sequence[Path]) -> set[tuple[str, str]]:
    """Case and side of every breast on which a contour was drawn, by the table or by a mask file."""
    stems = {
        Path(row["filename"]).stem.casefold()
        for _, row in rows
        if any(row.get(name, "-").lower() not in ("-", "", "nan") for name in ("tumour_contour", "tumour_contour2"))
    }
    marked = [path.stem.casefold() for path in inside if has_image_suffix(path)]
    stems |= {_MASK_MARKS.sub("", stem) for stem in marked if _MASK_MARKS.search(stem)}
    matches = [_VIEW_FILE.fullmatch(f"{stem}.png") for stem in stems]
    return {(match["case"].upper(), match["side"][0].upper()) for match in matches if match}


def _label_by_breast(found: FPTFoundImages, contoured: set[tuple[str, str]], title: str) -> None:
    """Breasts without a contour become normal; a case without any contour tells nothing and is left out."""
    normal = found.classes.index("Normal")
    known_cases = {case for case, _ in contoured}
    telling = [i for i in found.items if i["label"] == normal or i["group"] in known_cases]
    left_out = len(found.items) - len(telling)
    if left_out and not known_cases:
        raise ValueError(
            f"{title}: label_level='breast' needs DataWMask.xlsx or the mask files, which tell the diseased breast; "
            "complete "
            "the copy, or choose label_level='case'."
        )
    if left_out:
        found.warned.append(
            f"{left_out:,} images of cases without any contour are left out, their diseased breast is unknown"
        )
    for item in telling:
        if item["label"] != normal and (item["group"], item["laterality"]) not in contoured:
            item["label"] = normal
    found.items = telling
