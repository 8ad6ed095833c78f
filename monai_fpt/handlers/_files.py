"""Files of a training that appear whole or not at all (``monai_fpt._files``), and what a user reads where they cannot: a training is killed,
or the disk fills, at any moment.
"""

from __future__ import annotations

from pathlib import Path

from monai_fpt._files import write_whole

__all__ = ["replace_file_content"]


def replace_file_content(path: Path, content: bytes) -> None:
    """Make ``path`` hold ``content``, or leave it as it was.

    Args:
        path: the file; its folder is made when missing.
        content: all of the new content.

    Raises:
        OSError: the folder or file cannot be written, for instance because the disk is full.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}); what it held before is unchanged: "
            "free space or give another folder, then run again",
        ) from error
