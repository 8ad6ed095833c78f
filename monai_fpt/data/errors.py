"""The one error a caller of the image reader has to know.

Whatever is wrong with an image file (missing, empty, truncated, of an unsupported kind), reading it raises
:class:`ImageReadError`, and its text is one sentence that names the file, the reason and the mend. The class takes
the plain text only, so it survives the way through a data loader's worker process, which rebuilds exceptions from
their text.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["ImageReadError", "unreadable_image"]


class ImageReadError(ValueError):
    """An image file cannot be turned into pixels; the text names the file, the reason and the mend."""


def unreadable_image(path: Path, reason: str, mend: str) -> ImageReadError:
    """Word an :class:`ImageReadError`.

    Args:
        path: the file that was to be read.
        reason: what is wrong, without a full stop.
        mend: what the user can do, as an imperative without a full stop.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unreadable_image(Path("a.png"), "the file is empty", "copy it again"))
        "cannot read image 'a.png': the file is empty; copy it again."
    """
    return ImageReadError(f"cannot read image '{path}': {reason}; {mend}.")
