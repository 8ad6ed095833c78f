"""Which frame or slice of a file is read: one rule for DICOM, TIFF and volumes."""

from __future__ import annotations

from pathlib import Path

from monai_fpt.data.errors import unreadable_image

__all__ = ["chosen_frame"]


def chosen_frame(path: Path, count: int, wanted: int | str | None, what: str) -> int:
    """The number of the frame that is meant.

    Args:
        path: the file, for the message.
        count: frames in it.
        wanted: a number from 0, negative from the end, ``"middle"``, or None, which means the only one.
        what: what there are ``count`` of, for the message.

    Returns:
        0 to count - 1.

    Raises:
        ImageReadError: there are several and none is chosen, or the number is beyond them.

    Example:
        >>> chosen_frame(Path("a.dcm"), 5, "middle", "frames"), chosen_frame(Path("a.dcm"), 5, -1, "frames")
        (2, 4)
    """
    if wanted is None and count > 1:
        raise unreadable_image(
            path,
            f"it holds {count} {what} and none is chosen",
            "give the data list a column 'frame' (from 0), set the reader's frame to a number or 'middle', or save the "
            "one to be judged as a file of its own",
        )
    if wanted == "middle":
        return count // 2
    number = int(wanted or 0)
    if not -count <= number < count:
        raise unreadable_image(
            path, f"frame {number} is asked for and it holds {count} {what.rstrip(',')}", "correct the number"
        )
    return number % count
