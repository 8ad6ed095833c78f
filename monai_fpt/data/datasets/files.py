"""Finding a data set's files below whatever folder a user names, and joining names of a label file to them.

Mirrors nest folders, change the case of suffixes and drop suffixes from label files. So files are looked for at any
depth, and a name is matched as it is first, then without its suffix, never minding the case. Two files that both
answer to a name are an error, because one of them is another picture or another copy.

Files are sorted without regard to case, whatever the file system says; hidden files and folders are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from monai_fpt.data.image import image_suffixes

__all__ = ["FPTImageIndex", "common_folder", "files_below", "has_image_suffix", "named_file", "readable_name"]

_LEAST_MATCH = 0.9  # a label file of which fewer rows find an image is taken for a wrong one


def files_below(root: Path) -> list[Path]:
    """Every visible file below a folder, sorted by its path without regard to case.

    Links to folders are followed, after the folders themselves and in the order of their names. A folder that was seen
    is not entered by another way, so a link to itself or above multiplies no image.
    """
    found: list[Path] = []
    seen: set[str] = set()
    starts = [root]
    while starts:
        start = starts.pop(0)
        for parent, folders, names in os.walk(start):
            real = os.path.realpath(parent)
            if real in seen:
                folders[:] = []
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            starts += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
            found += [Path(parent, name) for name in names if not name.startswith(".")]
        starts.sort()
    return sorted(found, key=lambda path: (path.as_posix().casefold(), path.as_posix()))


def has_image_suffix(path: Path) -> bool:
    """Whether a file is an image by its name; it is not opened."""
    return path.name.lower().endswith(image_suffixes())


def readable_name(path: Path, root: Path) -> str:
    """A path below the root as text for messages."""
    return Path(os.path.relpath(path, root)).as_posix()


def named_file(files: Iterable[Path], names: Sequence[str], root: Path, title: str) -> Path | None:
    """The one file that has one of these names, the first name first, without regard to case.

    Raises:
        ValueError: there are several of that name.
    """
    listed = list(files)
    for name in names:
        hits = [path for path in listed if path.name.casefold() == name.casefold()]
        if len(hits) > 1:
            raise ValueError(
                f"{title}: {len(hits)} files called {name!r} lie below {str(root)!r} ({readable_name(hits[0], root)} "
                "and "
                f"{readable_name(hits[1], root)}); name the folder of one copy as root_dir."
            )
        if hits:
            return hits[0]
    return None


def common_folder(paths: Iterable[Path]) -> set[Path]:
    """The folders that hold these files."""
    return {path.parent for path in paths}


class FPTImageIndex:
    """Images by name.

    Args:
        images: the files.
        root: for messages.
        title: the data set's, for messages.
    """

    def __init__(self, images: Iterable[Path], root: Path, title: str) -> None:
        self.images = [path for path in images if has_image_suffix(path)]
        self.root, self.title = root, title
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.images:
            self._by_name.setdefault(path.name.casefold(), []).append(path)
            self._by_stem.setdefault(path.stem.casefold(), []).append(path)

    def find(self, name: str) -> Path | None:
        """The image of this name, or None.

        Args:
            name: file name as a label file has it: any folders before it, of either slash, are ignored, the suffix may
                be another one or absent.

        Raises:
            ValueError: two images answer to the name.
        """
        bare = name.replace("\\", "/").rsplit("/", 1)[-1].casefold()
        stem = bare[: -len(Path(bare).suffix)] if Path(bare).suffix in image_suffixes() else bare
        hits = self._by_name.get(bare) or self._by_stem.get(stem) or []
        if len(hits) > 1:
            raise ValueError(
                f"{self.title}: image {name!r} lies below {str(self.root)!r} {len(hits)} times ("
                f"{readable_name(hits[0], self.root)} and {readable_name(hits[1], self.root)}); name the folder of one "
                "copy as root_dir, or remove the other."
            )
        return hits[0] if hits else None

    def join(self, names: Sequence[str], label_file: Path) -> list[Path | None]:
        """The image of every row of a label file.

        Args:
            names: image names, one a row.
            label_file: for messages.

        Returns:
            One path for each name, None where there is none.

        Raises:
            ValueError: fewer than 90 % of the rows find an image, or two rows mean one image, or a name is ambiguous.
        """
        paths = [self.find(name) for name in names]
        hits = [path for path in paths if path is not None]
        if len(hits) < _LEAST_MATCH * len(names):
            absent = next(name for name, path in zip(names, paths, strict=True) if path is None)
            raise ValueError(
                f"{self.title}: only {len(hits):,} of {len(names):,} rows of label file "
                f"{readable_name(label_file, self.root)!r} find an image (not {absent!r}, for example); it belongs to "
                "other images or the copy is incomplete, so check both."
            )
        seen: set[Path] = set()
        for path in hits:
            if path in seen:
                raise ValueError(
                    f"{self.title}: two rows of label file {readable_name(label_file, self.root)!r} mean image "
                    f"{readable_name(path, self.root)!r}; keep one row for each image."
                )
            seen.add(path)
        return paths
