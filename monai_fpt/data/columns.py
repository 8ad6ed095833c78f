"""The columns of a user's table: read as text, given by name or guessed, and told to the user.

A guess is by the column's name alone, whatever its case, spaces and underscores, and in a fixed order, so the same table
always gives the same columns. What was guessed is said, for a wrong guess must be seen.
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from monai_fpt.data.split import section_of_name

__all__ = [
    "GROUP_COLUMNS",
    "TableColumns",
    "fact_value",
    "read_table",
    "require_columns",
    "say_columns",
    "table_columns",
]

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
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
    "study",
    "studyid",
    "exam",
    "examid",
    "group",
)
_IMAGE_COLUMNS = (
    *(
        "image",
        "imagepath",
        "path",
        "file",
        "filepath",
        "filename",
        "imagefile",
        "imagename",
        "imageid",
        "img",
        "imgpath",
    ),
    *("imgid", "idcode", "dicom"),
)
_LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "classname",
    "diagnosis",
    "dx",
    "target",
    "grade",
    "level",
    "finding",
    "findinglabels",
)
_SPLIT_COLUMNS = ("split", "section", "subset", "set", "partition")
_FRAME_COLUMNS = ("frame", "slice", "frameindex", "sliceindex")
_FACT_COLUMNS = {
    "laterality": ("laterality", "imagelaterality", "side", "leftright", "eye"),
    "view": ("view", "viewposition"),
}
_SIDES = {"l": "L", "left": "L", "os": "L", "r": "R", "right": "R", "od": "R"}


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """Which column is what; None where the table has none.

    Attributes:
        image: paths or names of the image files.
        label: class names; None where several columns of 0 and 1 are the labels.
        split: sections.
        group: patients, lesions, studies.
        frame: frames or slices of the files.
        facts: fact of an item to column, laterality and view.
    """

    image: str
    label: str | None
    split: str | None
    group: str | None
    frame: str | None
    facts: dict[str, str]

    def __str__(self) -> str:
        known = {
            "image": self.image,
            "label": self.label,
            "split": self.split,
            "group": self.group,
            "frame": self.frame,
        }
        return ", ".join(f"{what} = {name!r}" for what, name in (known | self.facts).items() if name is not None)


def read_table(path: Path) -> pd.DataFrame:
    """A table as stripped text, indexed by spreadsheet row (the header is row 1); empty rows are dropped.

    Args:
        path: .csv (comma or semicolon), .tsv, .txt (tab), .xlsx or .parquet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or has no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data list: there is no table {str(path)!r}; check the path.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".xlsx":
            cells = _read_workbook(path)
        elif suffix == ".parquet":
            frame = pd.read_parquet(path)
            named = [name for name in frame.index.names if name is not None]
            frame = frame.reset_index() if named else frame
            cells = frame.convert_dtypes().astype("string")  # 1.0 of a column of whole numbers is 1
        elif suffix in TABLE_SUFFIXES:
            cells = _read_separated(path, suffix)
        else:
            raise ValueError(f"its suffix is {suffix!r}, not {', '.join(TABLE_SUFFIXES)}")
    except Exception as error:  # parsers raise many kinds
        raise ValueError(f"table {str(path)!r} cannot be read ({error}); save it as UTF-8 CSV or .xlsx.") from error
    rows: pd.DataFrame = cells.astype(object).where(cells.notna(), "").astype(str)
    rows.columns = pd.Index([str(name).strip() for name in rows.columns])
    twice = sorted({name for name in rows.columns if list(rows.columns).count(name) > 1})
    if twice:
        raise ValueError(f"table {str(path)!r} has more than one column {twice}; rename or remove one.")
    rows = rows.apply(lambda column: column.str.strip())
    rows.index = pd.RangeIndex(2, len(rows) + 2)
    rows = rows.loc[(rows != "").any(axis=1)]
    if rows.empty:
        raise ValueError(f"table {str(path)!r} has no rows; add one row for each image.")
    return rows


def _read_workbook(path: Path) -> pd.DataFrame:
    """The only sheet of a workbook that has rows."""
    sheets = pd.read_excel(path, sheet_name=None, dtype=str, keep_default_na=False)
    filled = {name: sheet for name, sheet in sheets.items() if len(sheet)}
    if len(filled) > 1:
        raise ValueError(f"its sheets {list(filled)} all hold rows, keep the one of images")
    chosen: pd.DataFrame = next(iter((filled or sheets).values()))
    return chosen


def _read_separated(path: Path, suffix: str) -> pd.DataFrame:
    separator = "\t"
    if suffix == ".csv":
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = ";" if header.count(";") > header.count(",") else ","
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be cut off
        cells: pd.DataFrame = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            header=None,  # pandas renames a second column of one name
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            index_col=False,
        )
    cells.columns = pd.Index(cells.iloc[0])
    below: pd.DataFrame = cells.iloc[1:]
    return below


def require_columns(rows: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Raise ValueError where a table lacks one of the columns."""
    missing = [name for name in columns if name not in rows]
    if missing:
        raise ValueError(
            f"{where} has no column {missing}, its columns are {list(rows.columns)}; rename one or name the column "
            "in the options."
        )


def table_columns(
    rows: pd.DataFrame,
    where: str,
    *,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
    frame: str | None = None,
    needs_label: bool = True,
) -> TableColumns:
    """Find the columns of a table and say which ones were taken.

    Args:
        rows: the table.
        where: what to call it in messages.
        image: a column's name; None guesses it, as for all that follow.
        label: likewise; must be found where ``needs_label``.
        split: likewise; an empty text says that there is none, for the next two as well.
        group: the names are ``GROUP_COLUMNS``.
        frame: of files of several frames.
        needs_label: whether the labels are in one column.

    Raises:
        ValueError: a named column is missing, or the images' or the labels' column cannot be guessed.
    """
    given = [name for name in (image, label, split, group, frame) if name]
    require_columns(rows, given, where)
    by_letters: dict[str, str] = {}
    for column in rows.columns:
        letters = re.sub(r"[\s_\-.]", "", str(column).lower())
        if letters in by_letters and str(column) not in given and by_letters[letters] not in given:
            raise ValueError(f"{where}: columns {by_letters[letters]!r} and {str(column)!r} have one name; rename one.")
        by_letters.setdefault(letters, str(column))

    def guess(names: Sequence[str]) -> str | None:
        return next((by_letters[name] for name in names if name in by_letters and by_letters[name] not in given), None)

    image = image or guess(_IMAGE_COLUMNS)
    label = label or (guess(_LABEL_COLUMNS) if needs_label else None)
    for what, option, found in (("images", "image_column", image), ("labels", "label_column", label)):
        if found is None and (what == "images" or needs_label):
            raise ValueError(
                f"{where} has no column that is known to hold the {what}, its columns are {list(rows.columns)}; name it "
                f"with {option}."
            )
    assert image is not None
    split = _split_column(rows, guess(_SPLIT_COLUMNS)) if split is None else split
    group = guess(GROUP_COLUMNS) if group is None else group
    frame = guess(_FRAME_COLUMNS) if frame is None else frame
    facts = {fact: name for fact, names in _FACT_COLUMNS.items() if (name := guess(names)) is not None}
    return TableColumns(image, label, split or None, group or None, frame or None, facts)


def _split_column(rows: pd.DataFrame, guessed: str | None) -> str | None:
    """A guessed column of sections, unless it is plainly something else: no cell of it names a section."""
    if guessed is None or any(section_of_name(cell) for cell in rows[guessed]):
        return guessed
    return guessed if guessed.lower() == "split" else None


def say_columns(columns: TableColumns, where: str) -> None:
    """Print which columns were taken, in one of several processes."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"{where[:1].upper()}{where[1:]}: {columns}", flush=True)


def fact_value(fact: str, cell: str) -> str:
    """A cell as the value of a fact; sides become ``L`` and ``R``.

    Example:
        >>> fact_value("laterality", "LEFT"), fact_value("laterality", "OD"), fact_value("view", "CC")
        ('L', 'R', 'CC')
    """
    return _SIDES.get(cell.lower(), cell) if fact == "laterality" else cell
