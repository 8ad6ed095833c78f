"""Whether a user's copy of a public data set is whole: what is missing, extra or corrupt.

Loading takes a part of a data set with a warning; here every published number must be met, every label row must have
its image and the other way round, every image must open, and archives must be what was downloaded and unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.published import FPTFoundImages, FPTSourceFile, compare_counts
from monai_fpt.data.datasets.registry import named_fpt_dataset
from monai_fpt.data.datasets.transfer import digest_of_file, kept_sha256
from monai_fpt.data.datasets.unpack import lacking_members
from monai_fpt.data.errors import ImageReadError
from monai_fpt.data.image import load_medical_image

__all__ = ["FPTDatasetCheck", "check_fpt_dataset"]

_SHOWN = 20


@dataclass(frozen=True)
class FPTDatasetCheck:
    """What a check found. Its text is the report.

    Args:
        title: the data set's.
        folder: the user's folder.
        images: labelled images that were found.
        missing: label rows without image, and published numbers that are not met.
        extra: images without label, and published numbers that are exceeded.
        corrupt: files that cannot be read or are not what was published, with the reason.
        notes: what else there is to know.
    """

    title: str
    folder: str
    images: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    corrupt: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, extra or corrupt."""
        return not (self.missing or self.extra or self.corrupt)

    def __str__(self) -> str:
        """The report, a line for each finding; of many of a kind the first twenty."""
        verdict = "complete" if self.ok else "NOT as published"
        lines = [f"{self.title} in {self.folder!r}: {verdict}, {self.images:,} labelled images"]
        for kind in ("missing", "extra", "corrupt", "notes"):
            found: tuple[str, ...] = getattr(self, kind)
            if found:
                lines += [f"{kind} ({len(found):,}):", *(f"  {text}" for text in found[:_SHOWN])]
                lines += [f"  and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
        return "\n".join(lines)


def check_fpt_dataset(
    name: str, folder: str | Path, *, open_images: bool = True, progress: bool = True, **options: Any
) -> FPTDatasetCheck:
    """Check a user's copy.

    Args:
        name: see :func:`~monai_fpt.data.datasets.registry.named_fpt_dataset`.
        folder: the folder.
        open_images: read every image as training would; False looks at names and numbers only.
        progress: whether bars are shown.
        options: of this very data set.

    Returns:
        What was found; a data set that is not there or contradicts itself is a finding, not an error.

    Raises:
        ValueError: the name or an option is unknown, or the folder is none.
    """
    dataset, chosen = named_fpt_dataset(name, options)
    root = dataset.existing_root(folder)
    corrupt = _wrong_archives(dataset.files_of(chosen), root)
    try:
        found = dataset.find(root, chosen, progress=progress)
    except RuntimeError as error:
        return FPTDatasetCheck(dataset.title, str(root), 0, (str(error),), (), tuple(corrupt), ())
    except ValueError as error:
        return FPTDatasetCheck(dataset.title, str(root), 0, (), (), (*corrupt, str(error)), ())
    corrupt += found.corrupt
    if open_images:
        corrupt += _unreadable(found, progress)
    fewer, more, unsure = compare_counts(found)
    return FPTDatasetCheck(
        title=dataset.title,
        folder=str(root),
        images=len(found.items),
        missing=(*fewer, *found.missing, *_lost_sections(found, dataset)),
        extra=(*more, *found.extra),
        corrupt=tuple(corrupt),
        notes=(*found.said, *found.warned, *unsure),
    )


def _unreadable(found: FPTFoundImages, progress: bool) -> list[str]:
    """Images that cannot be read, with the reason."""
    bad = []
    for item in tqdm_bar(found.items, desc="open images", progress=progress):
        try:
            load_medical_image(item["image"])
        except ImageReadError as error:
            bad.append(f"{item['key']}: {error}")
    return bad


def _wrong_archives(files: Sequence[FPTSourceFile], root: Path) -> list[str]:
    """Source files that are not what was published or downloaded, and folders that are half unpacked."""
    bad = []
    for file in files:
        path = root / file.name
        if not path.is_file():
            continue
        wanted, kind = (file.md5, "md5") if file.md5 else (kept_sha256(path), "sha256")
        if wanted and (actual := digest_of_file(path, kind)) != wanted:
            bad.append(f"{file.name}: {kind} is {actual}, not {wanted}")
        elif file.folder and (root / file.folder).is_dir():
            try:
                lacking = lacking_members(path, root / file.folder)
            except RuntimeError as error:
                bad.append(f"{file.name}: {error}")
                continue
            if lacking:
                bad.append(f"{file.folder}: half unpacked, {len(lacking):,} files are missing, first {lacking[0]!r}")
    return bad


def _lost_sections(found: FPTFoundImages, dataset: type[FPTPublicDataset]) -> list[str]:
    """Said where the copy has lost the official sections."""
    return ["the official sections"] if dataset.official_split and not found.sections else []
