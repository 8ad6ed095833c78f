"""The labels of a table: one class, classes in an order, or several findings, and what an empty cell means.

Whatever is doubtful is an error that names the row. An empty label is one unless the caller says what it means: rows
that are dropped are counted aloud.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TypeAlias

import pandas as pd

from monai_fpt.data.folders import sorted_class_names

__all__ = ["MISSING_LABELS", "TableLabel", "class_labels", "drop_missing", "separated_labels", "zero_one_labels"]

MISSING_LABELS = ("error", "drop", "negative")
TableLabel: TypeAlias = int | list[float]
NOT_AVAILABLE = ("na", "n/a", "nan", "null", "<na>", "#n/a")  # not "none", which is a grade
_TRUTH = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}


def drop_missing(
    rows: pd.DataFrame, columns: Sequence[str], missing: str, where: str, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rows with a label; what becomes of the others.

    Args:
        rows: the table.
        columns: the columns of labels.
        missing: ``"error"`` refuses an empty cell, ``"drop"`` leaves its row out, with a warning, ``"negative"`` keeps
            it: no finding.
        where: what to call the table in messages.
        classes: class names; a word such as ``NA`` that is one of them is no missing label.

    Raises:
        ValueError: an unknown choice; an empty cell that is not allowed; no row is left.
    """
    if missing not in MISSING_LABELS:
        raise ValueError(f"{where}: missing_labels is {missing!r}; choose one of {MISSING_LABELS}.")
    words = rows[list(columns)].apply(lambda column: column.str.lower())
    doubtful = words.isin(NOT_AVAILABLE) & ~rows[list(columns)].isin(list(classes or []))
    if doubtful.any(axis=None) and missing == "error":
        row = rows.index[doubtful.any(axis=1)][0]
        column = doubtful.columns[doubtful.loc[row]][0]
        raise ValueError(
            f"{where}, row {row}: column {column!r} is {rows.loc[row, column]!r}, which usually means that a value is missing; "
            "empty the cell, name it among the classes, or set missing_labels to 'drop'."
        )
    rows = rows.copy()
    rows[list(columns)] = rows[list(columns)].mask(doubtful, "")
    empty = (rows[list(columns)] == "").any(axis=1)
    if missing == "negative" or not empty.any():
        return rows
    numbers = ", ".join(str(row) for row in rows.index[empty][:3])
    if missing == "error":
        column = next(name for name in columns if (rows[name] == "").any())
        raise ValueError(
            f"{where}, row {numbers}: column {column!r} is empty ({int(empty.sum())} row(s)); fill it, delete the row, or "
            "set missing_labels to 'drop'."
        )
    if empty.all():
        raise ValueError(f"{where}: no row has a label in {list(columns)}; nothing is left.")
    warnings.warn(
        f"{where}: {int(empty.sum())} of {len(rows)} rows have no label and are left out, first row {numbers}.",
        stacklevel=4,
    )
    labelled: pd.DataFrame = rows.loc[~empty]
    return labelled


def class_labels(
    cells: pd.Series[str], classes: Sequence[str] | None, ordered: bool, where: str
) -> tuple[tuple[str, ...], list[TableLabel]]:
    """Class names and each row's index into them.

    Args:
        cells: one class name a row.
        classes: class names in the order of their labels; by default those that occur, sorted.
        ordered: the order means something; it must then be given, or all names be numbers.
        where: what to call the table in messages.

    Raises:
        ValueError: fewer than two classes, an unknown one, or an order that nobody gave.
    """
    names = sorted_class_names(cells) if classes is None else tuple(str(name) for name in classes)
    _refuse_look_alikes(names, f"{where}: column {cells.name!r}")
    if len(names) < 2:
        raise ValueError(f"{where}: column {cells.name!r} has the only class {list(names)}; at least two are needed.")
    if ordered and classes is None and not all(_is_number(name) for name in names):
        raise ValueError(
            f"{where}: the order of the classes {list(names)} is not known, they are no numbers; give classes in their order."
        )
    index_of = {name: index for index, name in enumerate(names)}
    for row, value in cells.items():
        if value not in index_of:
            raise ValueError(
                f"{where}, row {row}: label {value!r} is not in classes {list(names)}; correct the label or the "
                "class list."
            )
    return names, [index_of[value] for value in cells]


def separated_labels(
    cells: pd.Series[str], separator: str, classes: Sequence[str] | None, negative: Sequence[str], where: str
) -> tuple[tuple[str, ...], list[TableLabel]]:
    """Findings that stand in one cell, as in ``Effusion|Mass``.

    Args:
        cells: findings of each row; an empty cell is no finding.
        separator: between them.
        classes: names of the findings in the order of the labels; by default those that occur, sorted.
        negative: words that mean no finding, as ``No Finding``.
        where: what to call the table in messages.

    Raises:
        ValueError: no finding at all, an unknown one, or a negative word beside a finding.
    """
    found: dict[int, list[str]] = {}
    for row, cell in cells.items():
        words = [word.strip() for word in cell.split(separator) if word.strip()]
        words = [next((n for n in negative if n.lower() == word.lower()), word) for word in words]
        if len(words) > 1 and set(words) & set(negative):
            raise ValueError(
                f"{where}, row {row}: {cell!r} holds a finding beside {sorted(set(words) & set(negative))[0]!r}; correct it."
            )
        found[int(str(row))] = [word for word in words if word not in negative]
    occurring = sorted_class_names({word for words in found.values() for word in words})
    names = occurring if classes is None else tuple(str(name) for name in classes)
    if not names:
        raise ValueError(
            f"{where}: column {cells.name!r} holds no finding at all; give classes, or check the separator."
        )
    for row, words in found.items():
        unknown = [word for word in words if word not in names]
        if unknown:
            raise ValueError(
                f"{where}, row {row}: label {unknown[0]!r} is not in classes {list(names)}; correct the label, the "
                "separator or the class list."
            )
    return names, [[float(name in words) for name in names] for words in found.values()]


def zero_one_labels(rows: pd.DataFrame, columns: Sequence[str], where: str) -> list[TableLabel]:
    """Each row's zeros and ones; an empty cell is a zero (what else it may be is :func:`drop_missing`'s business).

    Raises:
        ValueError: a cell is neither.
    """
    for column in columns:
        for row, value in rows[column].items():
            if value and value.lower() not in _TRUTH:
                raise ValueError(f"{where}, row {row}: column {column!r} is {value!r}, neither 0 nor 1; correct it.")
    return [[_TRUTH[value.lower() or "0"] for value in values] for values in rows[list(columns)].to_numpy()]


def _refuse_look_alikes(names: Sequence[str], where: str) -> None:
    """Names that differ only in how they are written are one class, written in two ways."""
    seen: dict[str, str] = {}
    for name in names:
        plain = f"{float(name):g}" if _is_number(name) else " ".join(name.lower().split())
        if plain in seen:
            raise ValueError(f"{where} writes one class as {seen[plain]!r} and {name!r}; write it in one way.")
        seen[plain] = name


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
