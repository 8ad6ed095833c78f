"""What is published about a data set, and what a loader found of it in a user's folder.

Every fact has its source. Counts that were only recalled or computed from a third party are marked ``verified=False``:
they are compared with the user's files and the difference is reported, nothing is concluded from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["FPTFoundImages", "FPTPublishedCount", "FPTSourceFile", "compare_counts", "differing_counts"]


@dataclass(frozen=True)
class FPTPublishedCount:
    """One published number of images.

    Args:
        number: how many.
        source: where the number is from.
        verified: whether the number was seen in its source; otherwise a difference is only a note.
        section: of this official section only; of all where empty.
        class_name: of this class only; of all where empty.
        files: image files of the release, unlabelled and ungradable ones included, instead of labelled images.
    """

    number: int
    source: str
    verified: bool = True
    section: str = ""
    class_name: str = ""
    files: bool = False

    def told(self) -> str:
        """What is counted, in words."""
        kind = "image files" if self.files else f"{self.class_name} images" if self.class_name else "labelled images"
        return f"{kind} of the official {self.section} section" if self.section else kind


@dataclass(frozen=True)
class FPTSourceFile:
    """One file that is downloaded.

    Args:
        name: its name below the data set's folder.
        url: where it is, relative to the data set's ``base_url`` unless absolute.
        md5: 32 hex digits where published, else empty.
        folder: the folder that an archive is unpacked to; empty for other files.
        images: image files that the folder holds, as published; 0 where it holds none or their number is unknown.
    """

    name: str
    url: str
    md5: str = ""
    folder: str = ""
    images: int = 0


@dataclass
class FPTFoundImages:
    """What a loader found below a folder.

    Args:
        root: the folder the user gave; keys are relative to it.
        classes: class names in the order of their labels.
        items: labelled images, see :func:`~monai_fpt.data.datalist.data_item`.
        sections: key to official section; empty where the copy has no official split.
        files: image files of the data set, those without a usable label included.
        missing: label rows without an image.
        extra: images beside the labelled ones that have no label.
        said: what a user should know.
        warned: what a user must know.
        corrupt: what is not as it was published: warned of, and a check does not pass.
        leakage: why images that belong together may be torn apart, where it is known or suspected.
        groups_are_suspected: the groups of the items are a guess: good enough to keep images together in a split of
            our own, not to say of an official one that it tears patients apart.
        counts: published numbers that hold for this copy.
        licence: the licence as this copy states it; empty where it states none.
        task: see :class:`~monai_fpt.data.datalist.FPTDataList`.
        ordered: likewise.
    """

    root: Path
    classes: tuple[str, ...]
    items: list[dict[str, Any]] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    files: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    leakage: str = ""
    groups_are_suspected: bool = False
    counts: Sequence[FPTPublishedCount] = ()
    licence: str = ""
    task: str = "multiclass"
    ordered: bool = False

    def number_of(self, count: FPTPublishedCount) -> int:
        """How many images of this copy a published count is about."""
        if count.files:
            return self.files
        chosen = [i for i in self.items if not count.section or self.sections.get(i["key"]) == count.section]
        if count.class_name and self.task == "multiclass":
            label = self.classes.index(count.class_name)
            chosen = [item for item in chosen if item["label"] == label]
        return len(chosen)


def compare_counts(found: FPTFoundImages) -> tuple[list[str], list[str], list[str]]:
    """Hold what was found against the published counts.

    Args:
        found: what was found.

    Returns:
        Three lists of phrases: fewer than published, more than published, and differences from unverified numbers.
    """
    fewer, more, unsure = [], [], []
    for count in found.counts:
        if count.section and not found.sections:
            continue  # this copy has lost the official sections, which its loader says
        number = found.number_of(count)
        if number == count.number:
            continue
        if not count.verified:
            unsure.append(
                f"{number:,} {count.told()}, {count.number:,} according to an unverified source ({count.source})"
            )
        elif number < count.number:
            fewer.append(f"found {number:,} of {count.number:,} {count.told()}")
        else:
            more.append(f"found {number:,} {count.told()}, {count.number:,} are published")
    return fewer, more, unsure


def differing_counts(found: FPTFoundImages) -> tuple[list[str], list[str]]:
    """The differences that are worth a word while loading: classes only where the totals are right.

    Returns:
        At most one phrase each on images that are too few and too many; and differences from unverified numbers,
        which say nothing of a partial copy.
    """
    fewer, more, unsure = compare_counts(found)
    whole = FPTFoundImages(**{**vars(found), "counts": [count for count in found.counts if not count.class_name]})
    fewer_in_all, more_in_all, _ = compare_counts(whole)
    phrases = []
    if fewer:
        phrases.append(f"{'; '.join(fewer_in_all or fewer)}: an incomplete copy?")
    if more:
        phrases.append(f"{'; '.join(more_in_all or more)}: is something mixed in?")
    return phrases, [] if fewer_in_all else unsure
