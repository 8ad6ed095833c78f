"""Data lists from tables (CSV, TSV, Excel, Parquet): one row an image, or a frame of one.

Everything is read as text, so a patient ``007`` keeps its zeros and a grade ``0`` is a class name, sorted as a
number. Whatever is doubtful in a table is an error that names the row, counted as a spreadsheet counts (the header is
row 1): the list that comes out is the one that was meant. Columns that are not named are guessed and told
(:mod:`monai_fpt.data.columns`). A split column is obeyed; a patient in two of its splits is an error, because the scores
would be too good. Without a split column the images are dealt out by patient and class (:mod:`monai_fpt.data.split`);
where the column has no validation rows, validation is dealt off the training rows.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_fpt.data.columns import (
    GROUP_COLUMNS,
    TableColumns,
    fact_value,
    read_table,
    require_columns,
    say_columns,
    table_columns,
)
from monai_fpt.data.datalist import SECTIONS, FPTDataList, data_item, refuse_torn_groups, require_images
from monai_fpt.data.dicom_patients import with_dicom_patients
from monai_fpt.data.folders import existing_folder, split_items
from monai_fpt.data.image import image_suffixes
from monai_fpt.data.labels import (
    NOT_AVAILABLE,
    TableLabel,
    class_labels,
    drop_missing,
    separated_labels,
    zero_one_labels,
)
from monai_fpt.data.split import check_fractions, section_of_name

__all__ = ["GROUP_COLUMNS", "data_list_from_table", "unlabelled_list_from_table"]


def data_list_from_table(
    table: str | Path,
    *,
    root: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    frame_column: str | None = None,
    classes: Sequence[str] | None = None,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    negative_labels: Sequence[str] = (),
    ordered: bool = False,
    missing_labels: str = "error",
    fact_columns: Sequence[str] = (),
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    allow_group_leakage: bool = False,
    only: str | None = None,
) -> FPTDataList:
    """Data list of a table.

    Args:
        table: a .csv (comma or semicolon), .tsv, .txt (tab), .xlsx or .parquet file with a header row.
        root: folder that image paths are relative to, directly or below its ``images`` folder; by default the table's
            folder. A name without suffix (``ISIC_0000000``) is that of the only image with this stem there.
        image_column: column of image paths; guessed where absent, as the other columns are. An empty text says that
            there is no such column (a split or a group that is to be passed over).
        label_column: column of class names; not used with ``label_columns``.
        split_column: column of train/training, val/valid/validation, test/testing in any case; where the table has no
            such column, the images are split.
        group_column: column of patients, lesions or studies; guessed by ``GROUP_COLUMNS``, whatever the case, spaces
            and underscores (``PatientID``, ``patient id``, ``subject``, ``case_id``, ``lesion_id``, ...). An empty cell
            is a patient of its own. Without such a column DICOM files are grouped by their Patient ID, and frames of
            one file stay together.
        frame_column: column of frames or slices, from 0; a file may then have several rows.
        classes: class names in the order of their labels; by default those that occur, sorted.
        label_columns: several columns of 0 and 1 make the task ``multilabel``; their names are the classes.
        label_separator: findings that stand in one cell, separated by this, make the task ``multilabel`` too.
        negative_labels: with ``label_separator``: words that mean no finding (``No Finding``).
        ordered: the order of the exclusive classes means something (grades); they must be numbers or be given.
        missing_labels: what an empty label means: ``"error"``, ``"drop"`` (the row is left out, with a warning) or, for
            several labels, ``"negative"`` (no finding).
        fact_columns: further columns that are kept with the images, to break scores down by (sex, age, site, camera).
        val_fraction: share of the images (of the training rows, where a split column has no validation rows) for
            validation.
        test_fraction: share of the images for the test, without a split column.
        seed: another seed, another split.
        allow_group_leakage: go on although a patient occurs in two splits of the split column.
        only: to evaluate: fill this section alone, with its rows of the split column, or with all rows where there is
            no such column; classes may then be absent.

    Returns:
        The list, of task ``multiclass`` or ``multilabel``. Laterality and view are facts of the items where the table
        has them.

    Raises:
        FileNotFoundError: the table, the root or an image is missing.
        ValueError: a column, label, split or group is missing, unknown, contradictory or repeated; the text names row
            and mend.
    """
    path = Path(os.path.abspath(Path(table).expanduser()))
    folder = existing_folder(root if root is not None else path.parent)
    rows = read_table(path)
    where = f"table {path.name!r}"
    several = label_columns is not None or label_separator is not None
    if missing_labels == "negative" and not several:
        raise ValueError(
            f"{where}: missing_labels 'negative' is for several labels an image; choose 'error' or 'drop'."
        )
    require_columns(rows, list(label_columns or []), where)
    columns = table_columns(
        rows,
        where,
        image=image_column,
        label=label_column,
        split=split_column,
        group=group_column,
        frame=frame_column,
        needs_label=label_columns is None,
    )
    require_columns(rows, fact_columns, where)
    columns = dataclasses.replace(columns, facts={name: name for name in fact_columns} | columns.facts)
    say_columns(columns, where)
    rows = drop_missing(rows, label_columns or [str(columns.label)], missing_labels, where, classes)
    names: tuple[str, ...]
    labels: list[TableLabel]
    if label_columns:
        names, labels = tuple(label_columns), zero_one_labels(rows, label_columns, where)
    elif label_separator:
        names, labels = separated_labels(rows[columns.label], label_separator, classes, negative_labels, where)
    else:
        names, labels = class_labels(rows[columns.label], classes, ordered, where)
    items = _items_of(rows, columns, labels, folder, where)
    task = "multilabel" if several else "multiclass"
    if only is not None:
        return _one_section(only, rows, items, columns.split, names, where, task, ordered)
    if columns.split is not None:
        sections = _given_sections(rows, items, columns.split, where)
        _refuse_untrained_classes(sections["training"], names, where, task)
        if not allow_group_leakage:
            refuse_torn_groups(
                sections, where, f"column {columns.group!r}" if columns.group else "files and Patient IDs"
            )
        if not sections["validation"]:
            fractions = check_fractions(val_fraction, 0)
            sections |= split_items(sections["training"], names, fractions, seed, ("training", "validation"))
    else:
        _refuse_untrained_classes(items, names, where, task)
        sections = split_items(items, names, check_fractions(val_fraction, test_fraction), seed)
    return FPTDataList(names, sections["training"], sections["validation"], sections["test"], task, ordered)


def unlabelled_list_from_table(
    table: str | Path,
    *,
    root: str | Path | None = None,
    image_column: str | None = None,
    group_column: str | None = None,
    frame_column: str | None = None,
) -> FPTDataList:
    """Unlabelled list of a table, for prediction: what labels it may have is not read.

    Args:
        table: see :func:`data_list_from_table`, like what follows.
        root: folder that image paths are relative to.
        image_column: column of image paths.
        group_column: column of patients.
        frame_column: column of frames or slices.

    Returns:
        The list, all images in the ``test`` section.

    Raises:
        FileNotFoundError: the table, the root or an image is missing.
        ValueError: a column is missing, or an image has two rows.
    """
    path = Path(os.path.abspath(Path(table).expanduser()))
    folder = existing_folder(root if root is not None else path.parent)
    rows, where = read_table(path), f"table {path.name!r}"
    columns = table_columns(
        rows, where, image=image_column, split="", group=group_column, frame=frame_column, needs_label=False
    )
    say_columns(columns, where)
    return FPTDataList((), [], [], _items_of(rows, columns, [None] * len(rows), folder, where))


def _items_of(
    rows: pd.DataFrame, columns: TableColumns, labels: Sequence[TableLabel | None], folder: Path, where: str
) -> list[dict[str, Any]]:
    """One item a row."""
    images = _image_paths(rows, columns.image, folder, where)
    groups = list(rows[columns.group]) if columns.group else [""] * len(rows)
    if any(group.lower() in NOT_AVAILABLE for group in groups):
        raise ValueError(
            f"{where}: column {columns.group!r} holds words for a missing value, all their images would be one patient; empty "
            "those cells."
        )
    frames = _frames(rows, columns.frame, where)
    facts = [
        {fact: fact_value(fact, str(row[name])) for fact, name in columns.facts.items() if row[name]}
        for _, row in rows.iterrows()
    ]
    items = [
        data_item(folder, image, label, group or None, frame=frame, facts=known)
        for image, label, group, frame, known in zip(images, labels, groups, frames, facts, strict=True)
    ]
    for item in items:
        if "frame" in item and "group" not in item:  # slices of one file belong to one patient
            item["group"] = f"file {item['key'].removesuffix('#' + str(item['frame']))}"
    _refuse_repeated_images(items, where)
    return items if columns.group else with_dicom_patients(items)


def _frames(rows: pd.DataFrame, column: str | None, where: str) -> list[int | None]:
    if column is None:
        return [None] * len(rows)
    for row, cell in rows[column].items():
        if cell and not cell.isdigit():
            raise ValueError(f"{where}, row {row}: column {column!r} is {cell!r}, no number from 0; correct it.")
    return [int(cell) if cell else None for cell in rows[column]]


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
    listed: dict[Path, dict[str, list[str]]] = {}
    paths = [_image_path(name.replace("\\", "/"), folder, listed, where) for name in rows[column]]
    require_images(paths, folder)
    return paths


def _image_path(name: str, folder: Path, listed: dict[Path, dict[str, list[str]]], where: str) -> Path:
    places = [Path(os.path.abspath(folder / name)), Path(os.path.abspath(folder / "images" / name))]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return found
    for place in places:  # a name without its suffix
        if place.parent not in listed:
            stems: dict[str, list[str]] = {}
            for file in sorted(os.listdir(place.parent)) if place.parent.is_dir() else []:
                suffix = next(
                    (s for s in sorted(image_suffixes(), key=len, reverse=True) if file.lower().endswith(s)), ""
                )
                if suffix:
                    stems.setdefault(file[: -len(suffix)], []).append(file)
            listed[place.parent] = stems
        files = listed[place.parent].get(place.name, [])
        if len(files) > 1:
            raise ValueError(f"{where}: image {name!r} may be any of {files[:3]}; write the names with their suffixes.")
        if files:
            return place.parent / files[0]
    return places[0]


def _refuse_repeated_images(items: list[dict[str, Any]], where: str) -> None:
    """One row an image: a second one contradicts the first or repeats it."""
    first: dict[str, Any] = {}
    whole = {item["image"] for item in items if "frame" not in item}
    for item in items:
        key = item["key"]
        if "frame" in item and item["image"] in whole:
            raise ValueError(
                f"{where}: the file of {key!r} has a row without a frame and one with it; name the frame in every row of it."
            )
        if key in first and first[key] != item.get("label"):
            raise ValueError(f"{where}: image {key!r} has rows with conflicting labels; keep the right one.")
        if key in first:
            raise ValueError(f"{where}: image {key!r} has more than one row; keep one row for each image.")
        first[key] = item.get("label")


def _one_section(
    only: str,
    rows: pd.DataFrame,
    items: list[dict[str, Any]],
    column: str | None,
    names: tuple[str, ...],
    where: str,
    task: str,
    ordered: bool,
) -> FPTDataList:
    """A list with one section, for an evaluation."""
    if column is not None:
        items = [item for value, item in zip(rows[column], items, strict=True) if section_of_name(value) == only]
    if not items:
        raise ValueError(
            f"{where}: column {column!r} has no row of section {only!r}; mark rows, or choose another section."
        )
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS} | {only: items}
    return FPTDataList(names, sections["training"], sections["validation"], sections["test"], task, ordered)


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


def _refuse_untrained_classes(items: list[dict[str, Any]], names: Sequence[str], where: str, task: str) -> None:
    """Every class has an image to learn from (the split then leaves one of each in training)."""
    counts = FPTDataList(tuple(names), items, [], [], task).class_counts("training")
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        raise ValueError(
            f"{where}: class(es) {absent} have no training image; add some or take them out of the classes."
        )
