"""Data lists from tables (CSV, TSV, Excel): one row an image.

Everything is read as text, so a patient ``007`` keeps its zeros and a grade ``0`` is a class name, sorted as a
number. Whatever is doubtful in a table is an error that names the row, counted as a spreadsheet counts (the header is
row 1): the list that comes out is the one that was meant. A split column is obeyed; a patient in two of its splits is
an error, because the scores would be too good. Without a split column the images are dealt out by patient and class
(:mod:`monai_fpt.data.split`); where the column has no validation rows, validation is dealt off the training rows.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from monai_fpt.data.datalist import SECTIONS, FPTDataList, data_item, require_images
from monai_fpt.data.folders import existing_folder, sorted_class_names, split_items
from monai_fpt.data.split import check_fractions, section_of_name

__all__ = ["GROUP_COLUMNS", "data_list_from_table"]

GROUP_COLUMNS = (
    "patient",
    "patientid",
    "patientkey",
    "subject",
    "subjectid",
    "case",
    "caseid",
    "lesion",
    "lesionid",
    "group",
)
_Label: TypeAlias = int | list[float]
_TRUTH = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}


def data_list_from_table(
    table: str | Path,
    *,
    root: str | Path | None = None,
    image_column: str = "image",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str | None = None,
    classes: Sequence[str] | None = None,
    label_columns: Sequence[str] | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    allow_group_leakage: bool = False,
    only: str | None = None,
) -> FPTDataList:
    """Data list of a table.

    Args:
        table: a .csv (comma or semicolon), .tsv, .txt (tab) or .xlsx file with a header row.
        root: folder that image paths are relative to, directly or below its ``images`` folder; by default the table's
            folder.
        image_column: column of image paths.
        label_column: column of class names; not used with ``label_columns``.
        split_column: column of train/training, val/valid/validation, test/testing in any case; where the table has no
            such column, the images are split.
        group_column: column of patients; by default the first of ``GROUP_COLUMNS`` that the table has, whatever its
            case, spaces and underscores (``PatientID``, ``patient id``, ``subject``, ``case_id``, ``lesion_id``, ...). An empty cell is a patient of its own.
        classes: class names in the order of their labels; by default those that occur, sorted.
        label_columns: several columns of 0 and 1 make the task ``multilabel``; their names are the classes.
        val_fraction: share of the images (of the training rows, where a split column has no validation rows) for
            validation.
        test_fraction: share of the images for the test, without a split column.
        seed: another seed, another split.
        allow_group_leakage: go on although a patient occurs in two splits of the split column.
        only: to evaluate: fill this section alone, with its rows of the split column, or with all rows where there is
            no such column; classes may then be absent.

    Returns:
        The list, of task ``multiclass`` or ``multilabel``.

    Raises:
        FileNotFoundError: the table, the root or an image is missing.
        ValueError: a column, label, split or group is missing, unknown, contradictory or repeated; the text names row
            and mend.
    """
    path = Path(os.path.abspath(Path(table).expanduser()))
    folder = existing_folder(root if root is not None else path.parent)
    rows = _read_rows(path)
    where = f"table {path.name!r}"
    _require_columns(rows, [image_column, *(label_columns or [label_column])], where)
    group_column = _group_column(rows, group_column, where)
    if label_columns:
        names, labels = tuple(label_columns), _zero_one_labels(rows, label_columns, where)
    else:
        names, labels = _class_labels(rows, label_column, classes, where)
    images = _image_paths(rows, image_column, folder, where)
    groups: list[str | None] = [cell or None for cell in rows[group_column]] if group_column else [None] * len(rows)
    items = [data_item(folder, image, label, group) for image, label, group in zip(images, labels, groups, strict=True)]
    _refuse_repeated_images(items, where)
    if only is not None:
        return _one_section(only, rows, items, split_column, names, where)
    if split_column in rows:
        sections = _given_sections(rows, items, split_column, where)
        _refuse_untrained_classes(sections["training"], names, where)
        if not allow_group_leakage:
            _refuse_torn_groups(sections, group_column, where)
        if not sections["validation"]:
            fractions = check_fractions(val_fraction, 0)
            sections |= split_items(sections["training"], names, fractions, seed, ("training", "validation"))
    else:
        _refuse_untrained_classes(items, names, where)
        sections = split_items(items, names, check_fractions(val_fraction, test_fraction), seed)
    return FPTDataList(classes=names, task=_task_of(items), **sections)


def _read_rows(path: Path) -> pd.DataFrame:
    """The table as stripped text, indexed by spreadsheet row; empty rows are dropped."""
    if not path.is_file():
        raise FileNotFoundError(f"data list: there is no table {str(path)!r}; check the path.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".xlsx":
            cells = pd.read_excel(path, dtype=str, keep_default_na=False)
        elif suffix in (".csv", ".tsv", ".txt"):
            separator = "\t"
            if suffix == ".csv":
                with path.open(encoding="utf-8-sig") as file:
                    header = file.readline()
                separator = ";" if header.count(";") > header.count(",") else ","
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be cut off
                cells = pd.read_csv(
                    path,
                    sep=separator,
                    dtype=str,
                    keep_default_na=False,
                    encoding="utf-8-sig",
                    skip_blank_lines=False,
                    index_col=False,
                )
        else:
            raise ValueError(f"its suffix is {suffix!r}, not .csv, .tsv, .txt or .xlsx")
    except Exception as error:  # parsers raise many kinds
        raise ValueError(f"table {str(path)!r} cannot be read ({error}); save it as UTF-8 CSV or .xlsx.") from error
    rows: pd.DataFrame = cells.fillna("").astype(str)
    rows.columns = pd.Index([str(name).strip() for name in rows.columns])
    rows = rows.apply(lambda column: column.str.strip())
    rows.index = pd.RangeIndex(2, len(rows) + 2)
    rows = rows.loc[(rows != "").any(axis=1)]
    if rows.empty:
        raise ValueError(f"table {str(path)!r} has no rows; add one row for each image.")
    return rows


def _require_columns(rows: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    missing = [name for name in columns if name not in rows]
    if missing:
        raise ValueError(
            f"{where} has no column {missing}, its columns are {list(rows.columns)}; rename one or name the column "
            "in the options."
        )


def _group_column(rows: pd.DataFrame, name: str | None, where: str) -> str | None:
    """The column of groups: the one asked for, or the first of the usual names."""
    if name is not None:
        _require_columns(rows, [name], where)
        return name
    by_letters = {re.sub(r"[^a-z]", "", str(column).lower()): str(column) for column in rows.columns}
    return next((by_letters[usual] for usual in GROUP_COLUMNS if usual in by_letters), None)


def _class_labels(
    rows: pd.DataFrame, column: str, classes: Sequence[str] | None, where: str
) -> tuple[tuple[str, ...], list[_Label]]:
    """Class names and each row's index into them."""
    cells = rows[column]
    _refuse_empty(cells, column, where)
    names = sorted_class_names(cells) if classes is None else tuple(str(name) for name in classes)
    if len(names) < 2:
        raise ValueError(f"{where}: column {column!r} has the only class {list(names)}; at least two are needed.")
    index_of = {name: index for index, name in enumerate(names)}
    for row, value in cells.items():
        if value not in index_of:
            raise ValueError(
                f"{where}, row {row}: label {value!r} is not in classes {list(names)}; correct the label or the "
                "class list."
            )
    return names, [index_of[value] for value in cells]


def _zero_one_labels(rows: pd.DataFrame, columns: Sequence[str], where: str) -> list[_Label]:
    """Each row's zeros and ones."""
    for column in columns:
        _refuse_empty(rows[column], column, where)
        for row, value in rows[column].items():
            if value.lower() not in _TRUTH:
                raise ValueError(f"{where}, row {row}: column {column!r} is {value!r}, neither 0 nor 1; correct it.")
    return [[_TRUTH[value.lower()] for value in values] for values in rows[list(columns)].to_numpy()]


def _refuse_empty(cells: pd.Series[str], column: str, where: str) -> None:
    empty = [str(row) for row, value in cells.items() if not value]
    if empty:
        raise ValueError(
            f"{where}, row {', '.join(empty[:3])}: column {column!r} is empty ({len(empty)} row(s)); fill it or "
            "delete the row."
        )


def _image_paths(rows: pd.DataFrame, column: str, folder: Path, where: str) -> list[Path]:
    """Absolute image paths, looked for below the folder and below its ``images`` folder."""
    _refuse_empty(rows[column], column, where)
    paths: list[Path] = []
    for name in rows[column]:
        direct = Path(os.path.abspath(folder / name.replace("\\", "/")))
        below_images = Path(os.path.abspath(folder / "images" / name.replace("\\", "/")))
        paths.append(below_images if not direct.is_file() and below_images.is_file() else direct)
    require_images(paths, folder)
    return paths


def _refuse_repeated_images(items: list[dict[str, Any]], where: str) -> None:
    """One row an image: a second one contradicts the first or repeats it."""
    first: dict[str, Any] = {}
    for item in items:
        key = item["key"]
        if key in first and first[key] != item["label"]:
            raise ValueError(f"{where}: image {key!r} has rows with conflicting labels; keep the right one.")
        if key in first:
            raise ValueError(f"{where}: image {key!r} has more than one row; keep one row for each image.")
        first[key] = item["label"]


def _one_section(
    only: str, rows: pd.DataFrame, items: list[dict[str, Any]], column: str, names: tuple[str, ...], where: str
) -> FPTDataList:
    """A list with one section, for an evaluation."""
    if column in rows:
        items = [item for value, item in zip(rows[column], items, strict=True) if section_of_name(value) == only]
    if not items:
        raise ValueError(
            f"{where}: column {column!r} has no row of section {only!r}; mark rows, or choose another section."
        )
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS} | {only: items}
    return FPTDataList(classes=names, task=_task_of(items), **sections)


def _given_sections(
    rows: pd.DataFrame, items: list[dict[str, Any]], column: str, where: str
) -> dict[str, list[dict[str, Any]]]:
    """Items in the sections that the split column names."""
    unknown = sorted({value for value in rows[column] if section_of_name(value) is None})
    if unknown:
        raise ValueError(
            f"{where}: column {column!r} holds {unknown}; write train, val or test, or name another split column."
        )
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for value, item in zip(rows[column], items, strict=True):
        sections[section_of_name(value) or ""].append(item)
    if not sections["training"]:
        raise ValueError(f"{where}: column {column!r} has no row 'train'; mark the training images.")
    return sections


def _refuse_untrained_classes(items: list[dict[str, Any]], names: Sequence[str], where: str) -> None:
    """Every class has an image to learn from (the split then leaves one of each in training)."""
    counts = FPTDataList(tuple(names), items, [], [], _task_of(items)).class_counts("training")
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        raise ValueError(
            f"{where}: class(es) {absent} have no training image; add some or take them out of the classes."
        )


def _task_of(items: list[dict[str, Any]]) -> str:
    return "multilabel" if items and isinstance(items[0]["label"], list) else "multiclass"


def _refuse_torn_groups(sections: dict[str, list[dict[str, Any]]], column: str | None, where: str) -> None:
    """A patient belongs to one section."""
    homes: dict[str, set[str]] = {}
    for section, items in sections.items():
        for item in items:
            if "group" in item:
                homes.setdefault(item["group"], set()).add(section)
    torn = sorted(group for group, found in homes.items() if len(found) > 1)
    if torn:
        raise ValueError(
            f"{where}: {len(torn)} group(s) of column {column!r} occur in more than one split, for example "
            f"{torn[:3]}; move each "
            "to one split, remove the split column, or pass allow_group_leakage=True and report it."
        )
