"""Rows of label files and the images they mean, over all label files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_fpt.data.datalist import data_item
from monai_fpt.data.datasets.files import FPTImageIndex, common_folder, readable_name
from monai_fpt.data.datasets.published import FPTFoundImages

__all__ = ["FPTLabelJoin"]


class FPTLabelJoin:
    """Collects labelled images, and what was left over.

    Args:
        found: gets the items, the missing rows and, at the end, the unlabelled images.
    """

    def __init__(self, found: FPTFoundImages) -> None:
        self.found = found
        self.ungradable = 0
        self._seen: dict[Path, None] = {}
        self._used: dict[Path, Path] = {}  # image -> label file

    def add(
        self, index: FPTImageIndex, label_file: Path, rows: Sequence[tuple[str, int | None]], section: str = ""
    ) -> None:
        """Take the rows of one label file.

        Args:
            index: the images that it may mean.
            label_file: the file.
            rows: image name and label of each row; None for an image that has no usable grade.
            section: the official section of its images, where there is one.

        Raises:
            ValueError: see :meth:`~monai_fpt.data.datasets.files.FPTImageIndex.join`; or an image has a row in two
                files.
        """
        root = self.found.root
        self._seen |= dict.fromkeys(index.images)
        for (name, label), path in zip(rows, index.join([name for name, _ in rows], label_file), strict=True):
            if path is None:
                self.found.missing.append(f"{name} of {readable_name(label_file, root)}")
                continue
            if path in self._used:
                raise ValueError(
                    f"{index.title}: image {readable_name(path, root)!r} has a row in {self._used[path].name!r} and in "
                    f"{label_file.name!r}; it would be in two sections, so copy the label files again."
                )
            self._used[path] = label_file
            if label is None:
                self.ungradable += 1
                continue
            item = data_item(root, path, label)
            self.found.items.append(item)
            if section:
                self.found.sections[item["key"]] = section

    def finish(self) -> None:
        """Say what was left over: images without a row that lie beside used ones, rows without image, no grades."""
        found = self.found
        folders = common_folder(self._used)
        unlabelled = [path for path in self._seen if path.parent in folders and path not in self._used]
        found.files = len(self._used) + len(unlabelled)
        found.extra += [readable_name(path, found.root) for path in unlabelled]
        if self.ungradable:
            found.said.append(f"{self.ungradable:,} ungradable image(s) are left out")
