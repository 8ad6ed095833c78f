"""Of which .npz file a folder of PNG files was made: noted in the folder, and held against the file beside it.

``source.json`` is written with the images and has the MD5 of the .npz file and of ``labels.csv``. So folder and file
can never be two truths: where the file is another one by now, or the table was edited, that is an error. The folder is
not made anew by itself, because a running training may be reading its images.

A file of many gigabytes is not hashed at every start, only where its size or time differs from what was noted.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monai_fpt.data.datasets.transfer import digest_of_file

__all__ = ["FPTNpzSource", "agreed_source_md5"]

_NOTE, _TABLE = "source.json", "labels.csv"


@dataclass(frozen=True)
class FPTNpzSource:
    """One .npz file and the table that was made of it.

    Args:
        archive: name of the file.
        md5: of the file, 32 hex digits.
        size: of the file in bytes.
        mtime_ns: when the file was changed last, in nanoseconds.
        labels_md5: MD5 of ``labels.csv``.
    """

    archive: str
    md5: str
    size: int
    mtime_ns: int
    labels_md5: str = ""

    @classmethod
    def of(cls, archive: Path) -> FPTNpzSource:
        """The facts of a file, without those of a table."""
        seen = archive.stat()  # before the content is read: a later change is seen by the next start
        return cls(archive.name, digest_of_file(archive, "md5"), seen.st_size, seen.st_mtime_ns)

    @classmethod
    def noted(cls, folder: Path) -> FPTNpzSource | None:
        """What a folder has noted; None where it has no note or none that can be read."""
        try:
            return cls(**json.loads((folder / _NOTE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def note(self, folder: Path) -> None:
        """Write it into the folder, whose table is there already."""
        known = self if self.labels_md5 else replace(self, labels_md5=digest_of_file(folder / _TABLE, "md5"))
        temporary = folder / f".{_NOTE}.tmp"
        temporary.write_text(json.dumps(asdict(known), indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, folder / _NOTE)

    def unchanged(self, archive: Path) -> bool:
        """Whether a file is the noted one by size and time."""
        seen = archive.stat()
        return (seen.st_size, seen.st_mtime_ns) == (self.size, self.mtime_ns)


def agreed_source_md5(folder: Path, archive: Path | None, title: str) -> str:
    """MD5 of the .npz file that a folder was made of, after folder, table and file were found to agree.

    Args:
        folder: the folder of images.
        archive: the .npz file below the same root, where there is one.
        title: the data set's, for messages.

    Returns:
        32 hex digits; empty where the folder does not say and there is no file.

    Raises:
        ValueError: the table is not the one that was written, or the file is not the one the folder was made of.
    """
    source = FPTNpzSource.noted(folder)
    mend = "remove the folder, it is made anew from the .npz file"
    if source is None:
        if archive is not None:
            raise ValueError(
                f"{title}: folder {str(folder)!r} does not say in {_NOTE} of which file it was made, it may differ "
                f"from {str(archive)!r}; {mend}."
            )
        return ""
    if digest_of_file(folder / _TABLE, "md5") != source.labels_md5:
        raise ValueError(f"{title}: {str(folder / _TABLE)!r} was changed after it was written; {mend}.")
    if archive is not None and not source.unchanged(archive):
        now = FPTNpzSource.of(archive)
        if now.md5 != source.md5:
            raise ValueError(
                f"{title}: folder {str(folder)!r} was made of a file with MD5 {source.md5}, {str(archive)!r} has "
                f"{now.md5}; {mend}."
            )
        with suppress(OSError):  # a folder that cannot be written to: the file is hashed again at the next start
            replace(now, labels_md5=source.labels_md5).note(folder)
    return source.md5
