"""The five grades of the International Clinical Diabetic Retinopathy scale, which Messidor-2 and DDR share."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ICDR_GRADES", "grade_of_cell"]

ICDR_GRADES = ("no DR", "mild NPDR", "moderate NPDR", "severe NPDR", "PDR")


def grade_of_cell(cell: str, title: str, label_file: Path, row: int, ungradable: str = "") -> int | None:
    """Grade of a cell of a label file, which may be written as a float.

    Args:
        cell: its text.
        title: the data set's, for messages.
        label_file: for messages.
        row: number of the row, for messages.
        ungradable: a further text that means ungradable.

    Returns:
        0 to 4, or None where the image is ungradable (an empty cell).

    Raises:
        ValueError: the cell is no grade.

    Example:
        >>> grade_of_cell("3.0", "DDR", Path("train.txt"), 1), grade_of_cell("5", "DDR", Path("train.txt"), 2, "5")
        (3, None)
    """
    whole = cell.removesuffix(".0")
    if cell.lower() in ("", "nan") or (ungradable and whole == ungradable):
        return None
    if whole in ("0", "1", "2", "3", "4"):
        return int(whole)
    raise ValueError(
        f"{title}: label file {label_file.name!r}, row {row} has grade {cell!r}, which is none of 0 to 4; it is "
        "another "
        "file, or correct the row."
    )
