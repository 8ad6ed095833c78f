"""Tables become data lists; whatever is doubtful in one is an error that names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from monai_fpt.data import data_list_from_table

Rows = list[dict[str, str]]


def plain_rows(count: int = 20, **columns: Any) -> Rows:
    """Rows of distinct images in two classes; a column is a function of the row number."""
    rows = [{"image": f"f{n % 2}/{n // 2}.png", "label": "ab"[n % 2]} for n in range(count)]
    return [{**row, **{name: make(n) for name, make in columns.items()}} for n, row in enumerate(rows)]


def write(root: Path, rows: Rows, name: str = "labels.csv", make_images: bool = True, **options: Any) -> Path:
    """The table and, below its folder, an image for each row."""
    frame = pd.DataFrame(rows)
    if name.endswith("xlsx"):
        frame.to_excel(root / name, index=False)
    else:
        frame.to_csv(root / name, index=False, **options)
    for row in rows if make_images else []:
        if row.get("image"):
            (root / row["image"]).parent.mkdir(parents=True, exist_ok=True)
            (root / row["image"]).write_bytes(b"x")
    return root / name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {}),
        ("a.csv", {"sep": ";"}),
        ("a.csv", {"encoding": "utf-8-sig"}),
        ("a.tsv", {"sep": "\t"}),
        ("a.xlsx", {}),
    ],
    ids=["comma", "semicolon", "byte order mark", "tab", "excel"],
)
def test_every_kind_of_table_gives_the_same_list(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    rows = plain_rows(patient=lambda n: f"{n // 2:03}")
    made = data_list_from_table(write(tmp_path, rows, name, **options))
    expected = data_list_from_table(write(tmp_path, rows, "expected.csv"))
    assert made == expected and len(made.training) == 14
    assert {item["group"] for item in made.training + made.validation + made.test} == {f"{n:03}" for n in range(10)}


def test_images_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    made = data_list_from_table(write(tmp_path, plain_rows()))
    every = made.training + made.validation + made.test
    assert len({item["key"] for item in every}) == 20 and {item["key"][:2] for item in every} == {"f0", "f1"}
    assert all(item["label"] == int(item["key"][1]) and Path(item["image"]).is_file() for item in every)


def test_grades_are_class_names_in_numeric_order(tmp_path: Path) -> None:
    rows = plain_rows(30, label=lambda n: ("2", "10", "1")[n % 3])
    assert data_list_from_table(write(tmp_path, rows)).classes == ("1", "2", "10")
    rows = plain_rows(30, label=lambda n: ("007", "8", "x")[n % 3])
    assert data_list_from_table(write(tmp_path, rows)).classes == ("007", "8", "x")


@pytest.mark.parametrize(
    "spelling", [("train", "val", "test"), ("Training", "VALID", "testing"), (" train", "validation", "Test ")]
)
def test_a_split_column_is_obeyed(tmp_path: Path, spelling: tuple[str, str, str]) -> None:
    made = data_list_from_table(write(tmp_path, plain_rows(18, split=lambda n: spelling[n // 6])))
    assert [made.class_counts(s) for s in ("training", "validation", "test")] == [[3, 3]] * 3


def test_validation_is_dealt_off_training_by_patient_where_the_column_has_none(tmp_path: Path) -> None:
    rows = plain_rows(60, split=lambda n: "test" if n < 20 else "train", patient=lambda n: f"p{n // 4}")
    made = data_list_from_table(write(tmp_path, rows), val_fraction=0.2)
    assert len(made.test) == 20 and len(made.validation) == 8
    assert not {i["group"] for i in made.training} & {i["group"] for i in made.validation}


@pytest.mark.parametrize("column", ["patient", "Patient_ID", "lesion_id", "group"])
def test_no_patient_is_in_two_sections(tmp_path: Path, column: str) -> None:
    rows = plain_rows(120, **{column: lambda n: f"p{n // 5}"})
    made = data_list_from_table(write(tmp_path, rows))
    groups = [{item["group"] for item in made.section(s)} for s in ("training", "validation", "test")]
    assert sum(len(found) for found in groups) == 24 == len(set.union(*groups))
    assert len(made.test) == pytest.approx(24, abs=5) and len(made.validation) == pytest.approx(12, abs=5)


def test_a_patient_in_two_given_splits_is_an_error(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    rows = plain_rows(30, split=lambda n: splits[n // 10], patient=lambda n: f"p{n % 5}" if n % 2 else f"q{n}")
    path = write(tmp_path, rows)
    with pytest.raises(ValueError, match=r"5 group\(s\) of column 'patient' .* \['p0', 'p1', 'p2'\]; move each"):
        data_list_from_table(path)
    assert len(data_list_from_table(path, allow_group_leakage=True).training) == 10


def test_an_empty_patient_is_a_patient_of_its_own(tmp_path: Path) -> None:
    rows = plain_rows(30, split=lambda n: ("train", "val", "test")[n // 10], patient=lambda n: "")
    assert "group" not in data_list_from_table(write(tmp_path, rows)).training[0]


def test_several_label_columns_make_several_labels(tmp_path: Path) -> None:
    rows = plain_rows(40, edema=lambda n: str(int(n % 4 == 0)), mass=lambda n: "1.0" if n % 5 == 0 else "0.0")
    made = data_list_from_table(write(tmp_path, rows), label_columns=["mass", "edema"])
    assert made.task == "multilabel" and made.classes == ("mass", "edema")
    first = next(i for s in ("training", "validation", "test") for i in made.section(s) if i["key"] == "f0/0.png")
    assert first["label"] == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"row 2: column 'label' is 'a', neither 0 nor 1"):
        data_list_from_table(tmp_path / "labels.csv", label_columns=["label"])


def test_images_are_found_below_the_images_folder_or_another_root(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path / "images", plain_rows(), "unused.csv")
    path = write(tmp_path, plain_rows(), make_images=False)
    made = data_list_from_table(path)
    assert made.training[0]["key"].startswith("images/f")
    moved = data_list_from_table(path, root=tmp_path / "images")
    assert moved.training[0]["key"].startswith("f")


def spoil(row: int, **cells: str) -> Any:
    def change(rows: Rows) -> Rows:
        rows[row - 2] |= cells
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (spoil(5, label=""), {}, r"row 5: column 'label' is empty"),
        (spoil(5, image=""), {}, r"row 5: column 'image' is empty"),
        (spoil(5, label="c"), {"classes": ["a", "b"]}, r"row 5: label 'c' is not in classes \['a', 'b'\]"),
        (lambda rows: rows + [rows[3]], {}, r"'f1/1.png' has more than one row"),
        (lambda rows: rows + [{**rows[3], "label": "a"}], {}, r"'f1/1.png' has rows with conflicting labels"),
        (lambda rows: [{**row, "split": "fold1"} for row in rows], {}, r"column 'split' holds \['fold1'\]; write"),
        (lambda rows: [{**row, "split": "test"} for row in rows], {}, r"no row 'train'"),
        (
            lambda rows: [{**row, "split": "train" if row["label"] == "a" else "test"} for row in rows],
            {"val_fraction": 0},
            r"class\(es\) \['b'\] have no training image",
        ),
        (lambda rows: rows, {"classes": ["a", "b", "c"]}, r"class\(es\) \['c'\] have no training image"),
        (
            spoil(2, label="rare"),
            {},
            r"class 'rare' has 1 separate group\(s\) or image\(s\), fewer than the 3 sections",
        ),
        (lambda rows: rows, {"label_column": "grade"}, r"no column \['grade'\], its columns are \['image', 'label'\]"),
        (lambda rows: rows, {"group_column": "person"}, r"no column \['person'\]"),
        (lambda rows: [{**row, "label": "a"} for row in rows], {}, r"only class \['a'\]; at least two"),
    ],
)
def test_doubtful_tables_are_refused(tmp_path: Path, change: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        data_list_from_table(write(tmp_path, change(plain_rows())), **options)


def test_missing_images_are_counted_and_three_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, plain_rows())
    for number in range(4):
        (tmp_path / f"f0/{number}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"4 image file\(s\) .*f0/0.png', '.*f0/1.png', '.*f0/2.png'; check"):
        data_list_from_table(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "image,label\n", "has no rows"),
        ("a.csv", "image,label\na.png,b,c\n", "cannot be read"),
        ("a.csv", "", "cannot be read"),
        ("a.xlsx", "no workbook", "cannot be read"),
        ("a.ods", "x", "its suffix is '.ods'"),
    ],
)
def test_unreadable_tables_are_named(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=reason):
        data_list_from_table(tmp_path / name)


def test_row_numbers_survive_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.csv").write_text("image,label\na.png,x\n\nb.png,\n")
    with pytest.raises(ValueError, match="row 4: column 'label' is empty"):
        data_list_from_table(tmp_path / "a.csv")


def test_real_tables_are_read(real_data: Path) -> None:
    derm = data_list_from_table(real_data / "derm_benign_malignant" / "labels.csv")
    assert [sum(derm.class_counts(s)) for s in ("training", "validation", "test")] == [333, 111, 111]
    chest = data_list_from_table(real_data / "cxr_ap_pa" / "labels.csv", split_column="")
    groups = [{item["group"] for item in chest.section(s)} for s in ("training", "validation", "test")]
    assert len(set.union(*groups)) == sum(len(found) for found in groups)
