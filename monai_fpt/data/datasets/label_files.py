"""Label files as text cells: CSV with whatever separator, or a workbook's first sheet.

Unlike :mod:`monai_fpt.data.table`, which reads a user's own table, these are files of others: with or without a header,
with columns in any order and case. Nothing is guessed from types; cells stay text, rows are counted as a spreadsheet
counts them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd

__all__ = ["NamedRows", "column_of", "header_of", "read_cells", "read_named_rows"]

NamedRows: TypeAlias = list[tuple[int, dict[str, str]]]


def read_cells(path: Path, title: str) -> list[tuple[int, list[str]]]:
    """Rows of a file with their numbers, counted from 1; empty rows are left out, cells are stripped.

    Args:
        path: a .csv or .txt file (comma, semicolon or tab), or a .xlsx file whose first sheet is read.
        title: the data set's, for messages.

    Raises:
        ValueError: the file cannot be read or is empty.
    """
    try:
        rows = _sheet_rows(path) if path.suffix.lower() == ".xlsx" else _text_rows(path)
    except Exception as error:  # parsers raise many kinds
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{title}: label file {str(path)!r} cannot be read ({reason}); save it as UTF-8 CSV of the same name."
        ) from error
    kept = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, start=1)]
    kept = [(number, row) for number, row in kept if any(row)]
    if not kept:
        raise ValueError(f"{title}: label file {str(path)!r} is empty; copy it again.")
    return kept


def read_named_rows(path: Path, title: str) -> NamedRows:
    """Rows of a file with a header, by column name in lower case.

    Raises:
        ValueError: the file cannot be read, or a row has more cells than the header.
    """
    (_, header), *rows = read_cells(path, title)
    names = [name.strip().lower() for name in header]
    for number, row in rows:
        if len(row) > len(names) and any(row[len(names) :]):
            raise ValueError(
                f"{title}: label file {path.name!r}, row {number} has {len(row)} cells, its header has {len(names)}; "
                "copy the file again."
            )
    return [(number, dict(zip(names, row + [""] * len(names), strict=False))) for number, row in rows]


def header_of(path: Path) -> tuple[str, ...]:
    """Column names of a text table in lower case, as its first line has them; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(cell.strip().lower() for cell in next(csv.reader([line], delimiter=_separator(line)), []))


def column_of(columns: Sequence[str], names: Sequence[str], path: Path, title: str) -> str:
    """The first of these column names that a file has.

    Raises:
        ValueError: it has none of them.
    """
    for name in names:
        if name in columns:
            return name
    raise ValueError(
        f"{title}: label file {path.name!r} has no column {' or '.join(names)}, its columns are {list(columns)}; it is "
        "another file or another version, get the one that is described in docs/datasets.md."
    )


def _separator(line: str) -> str:
    return max(",;\t", key=line.count)


def _text_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = file.read().splitlines()
    separator = _separator(next((line for line in lines if line.strip()), ""))
    return list(csv.reader(lines, delimiter=separator))


def _sheet_rows(path: Path) -> list[list[str]]:
    cells = pd.read_excel(path, dtype=str, header=None, keep_default_na=False).fillna("").astype(str)
    return [[str(cell) for cell in row] for row in cells.to_numpy()]
