"""The front door for data sets: one function that takes what a user has, a folder or a list, and gives a data list.

What is taken, in this order: a list that was named (a table, or the JSON of a saved list); a public data set that was
named; the class or section folders of the data set's folder; a ``labels.csv``, ``.tsv``, ``.xlsx`` or ``.parquet`` in
it. Where a folder holds both class folders and such a table the folders are taken, with a warning that says how to get
the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.data.datalist import FPTDataList
from monai_fpt.data.flags import fpt_flag, names_given
from monai_fpt.data.folders import (
    class_folder_names,
    data_list_from_folders,
    data_list_from_images,
    existing_folder,
)
from monai_fpt.data.split import section_of_name
from monai_fpt.data.table import data_list_from_table, unlabelled_list_from_table

__all__ = ["build_data_list", "build_prediction_list"]

_TABLE_NAMES = ("labels.csv", "labels.tsv", "labels.xlsx", "labels.parquet")


def build_data_list(
    dataset_dir: str | Path | None = None,
    data_list: str | Path | None = None,
    *,
    dataset: str | None = None,
    dataset_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    frame_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    negative_labels: Sequence[str] = (),
    ordered: bool = False,
    missing_labels: str = "error",
    fact_columns: Sequence[str] = (),
    allow_missing_classes: bool = False,
    allow_group_leakage: bool = False,
    only: str | None = None,
) -> FPTDataList:
    """Data list of a folder, a table or a saved list.

    Args:
        dataset_dir: folder of the images.
        data_list: a table (.csv, .tsv, .txt, .xlsx, .parquet) or a saved list (.json), with paths relative to
            ``dataset_dir`` where that is given and to its own folder otherwise.
        dataset: name of a public data set whose files ``dataset_dir`` holds, see
            :func:`monai_fpt.data.datasets.fpt_datasets`; a ``data_list`` that is given as well goes before it.
        dataset_options: of that data set (``split``, and what it knows itself).
        classes: see :func:`~monai_fpt.data.folders.data_list_from_folders` and
            :func:`~monai_fpt.data.table.data_list_from_table`, like all options that follow. ``*_column``, ``label_*``,
            ``negative_labels``, ``missing_labels``, ``fact_columns`` concern tables only,
            ``allow_missing_classes`` folders only; a saved list is taken as it is.
        val_fraction: share of the images for validation where it is not given.
        test_fraction: share of the images for the test where no sections are given.
        seed: another seed, another split.
        image_column: column of image paths; like the columns that follow, found by its name where absent.
        label_column: column of class names.
        split_column: column of sections.
        group_column: column of patients.
        frame_column: column of frames or slices.
        label_columns: columns of 0 and 1 for several labels.
        label_separator: between several labels in one column.
        negative_labels: words that mean no label there.
        ordered: the order of the classes means something.
        missing_labels: what an empty label means.
        fact_columns: columns that are kept with the images, to break scores down by.
        allow_missing_classes: accept classes without images in validation or test.
        allow_group_leakage: accept patients in two splits.
        only: fill this section alone, for an evaluation; tables only.

    Raises:
        FileNotFoundError: folder, table or images are missing.
        ValueError: neither argument is given, or the data set is not in order; the text says where and how to mend it.
    """
    if not dataset_dir and not data_list:
        raise ValueError(
            "data list: neither dataset_dir nor data_list is given; give the folder of the images or a table."
        )
    ordered = fpt_flag(ordered, "ordered")
    allow_missing_classes = fpt_flag(allow_missing_classes, "allow_missing_classes")
    allow_group_leakage = fpt_flag(allow_group_leakage, "allow_group_leakage")
    classes, label_columns = names_given(classes, "classes"), names_given(label_columns, "label_columns")
    negative_labels = names_given(negative_labels, "negative_labels") or ()
    fact_columns = names_given(fact_columns, "fact_columns") or ()
    folder = existing_folder(dataset_dir) if dataset_dir else None
    table = Path(data_list).expanduser() if data_list else None
    if table is None and folder is not None and dataset is None:
        table = _own_table(folder)
    if table is not None and table.suffix.lower() == ".json":
        saved = FPTDataList.load(table, folder or table.parent)
        if classes is not None and tuple(classes) != saved.classes:
            raise ValueError(
                f"data list {table.name!r}: its classes {list(saved.classes)} are not {list(classes)}, in this order; "
                "build the list again with these classes."
            )
        return saved
    if dataset is not None and data_list is None:
        from monai_fpt.data.datasets import fpt_dataset_list

        if folder is None:
            raise ValueError(f"data set {dataset!r}: its folder is not given; give dataset_dir.")
        options = {"seed": seed, "val_fraction": val_fraction, "test_fraction": test_fraction}
        built = fpt_dataset_list(dataset, folder, **options | dict(dataset_options or {}))
        if classes is not None and tuple(classes) != built.classes:
            raise ValueError(
                f"data set {dataset!r}: its classes {list(built.classes)} are not {list(classes)}, in this order; leave "
                "classes out."
            )
        return built
    if table is not None:
        return data_list_from_table(
            table,
            root=folder,
            image_column=image_column,
            label_column=label_column,
            split_column=split_column,
            group_column=group_column,
            frame_column=frame_column,
            classes=classes,
            label_columns=label_columns,
            label_separator=label_separator,
            negative_labels=negative_labels,
            ordered=ordered,
            missing_labels=missing_labels,
            fact_columns=fact_columns,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            allow_group_leakage=allow_group_leakage,
            only=only,
        )
    assert folder is not None
    return data_list_from_folders(
        folder,
        classes=classes,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        allow_missing_classes=allow_missing_classes,
        ordered=ordered,
        allow_group_leakage=allow_group_leakage,
    )


def build_prediction_list(dataset_dir: str | Path | None = None, data_list: str | Path | None = None) -> FPTDataList:
    """Unlabelled list of a folder or a table, for prediction.

    Args:
        dataset_dir: folder of the images; without a table every image below it is taken.
        data_list: a table, where frames of files, or some of the images, are to be named.

    Raises:
        FileNotFoundError: folder, table or images are missing.
        ValueError: neither argument is given, or there is no image.
    """
    if data_list:
        return unlabelled_list_from_table(data_list, root=dataset_dir)
    if not dataset_dir:
        raise ValueError("data list: neither dataset_dir nor data_list is given; give the folder of the images.")
    return data_list_from_images(dataset_dir)


def _own_table(folder: Path) -> Path | None:
    """The folder's labels table, unless class or section folders say what the labels are."""
    table = next((folder / name for name in _TABLE_NAMES if (folder / name).is_file()), None)
    if table is None:
        return None
    names = class_folder_names(folder)
    has_class_folders = any(section_of_name(name) for name in names) or len(set(names) - {"images"}) >= 2
    if has_class_folders:
        warnings.warn(
            f"data list: {str(folder)!r} holds class folders and {table.name!r}; the folders are taken. "
            f"Pass data_list={str(table)!r} to take the table.",
            stacklevel=3,
        )
        return None
    return table
