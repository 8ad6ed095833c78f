"""What users' tables hold: guessed columns, several findings, grades, empty labels, frames, names without suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_table import plain_rows, write

from monai_fpt.data import FPTDataList, build_data_list, data_list_from_table


def items(made: FPTDataList) -> list[dict[str, Any]]:
    return sorted(made.training + made.validation + made.test, key=lambda item: str(item["key"]))


def test_parquet_with_numbers_gives_the_list_of_the_text_table(tmp_path: Path) -> None:
    rows = plain_rows(label=lambda n: n % 2, patient=lambda n: f"{n // 2:03}")
    frame = pd.DataFrame(rows)
    frame["label"] = frame["label"].astype(float)  # 0.0 and 1.0 are the classes 0 and 1
    frame.to_parquet(tmp_path / "a.parquet")
    assert data_list_from_table(tmp_path / "a.parquet", root=write(tmp_path, rows).parent) == data_list_from_table(
        tmp_path / "labels.csv"
    )


@pytest.mark.parametrize(
    ("renamed", "told"),
    [
        (
            {"image": "Image_Path", "label": "Diagnosis", "patient": "Patient ID"},
            "image = 'Image_Path', label = 'Diagnosis'",
        ),
        ({"image": "file name", "label": "DX", "patient": "lesion_id"}, "group = 'lesion_id'"),
        ({"image": "id_code", "label": "grade", "patient": "StudyID"}, "group = 'StudyID'"),
    ],
    ids=["diagnosis", "dx", "grade"],
)
def test_columns_are_guessed_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], renamed: dict[str, str], told: str
) -> None:
    rows = plain_rows(patient=lambda n: f"{n // 2:03}")
    plain = data_list_from_table(write(tmp_path, rows))
    pd.DataFrame(rows).rename(columns=renamed).to_csv(tmp_path / "other.csv", index=False)
    capsys.readouterr()
    assert data_list_from_table(tmp_path / "other.csv") == plain
    assert told in capsys.readouterr().out


def test_a_column_that_cannot_be_guessed_is_asked_for(tmp_path: Path) -> None:
    rows = [{"a": row["image"], "b": row["label"]} for row in plain_rows()]
    write(tmp_path, plain_rows(), "with_images.csv")
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(
        ValueError, match=r"known to hold the images, its columns are \['a', 'b'\]; name it with image_column"
    ):
        data_list_from_table(tmp_path / "labels.csv")
    with pytest.raises(ValueError, match=r"known to hold the labels.*label_column"):
        data_list_from_table(tmp_path / "labels.csv", image_column="a")
    assert len(items(data_list_from_table(tmp_path / "labels.csv", image_column="a", label_column="b"))) == 20


def test_a_set_column_without_sections_is_no_split(tmp_path: Path) -> None:
    made = data_list_from_table(write(tmp_path, plain_rows(set=lambda n: "archive A")))
    assert len(made.training) == 14 and len(made.test) == 4


def test_findings_in_one_cell_become_several_labels(tmp_path: Path) -> None:
    cells = ["Mass", "Effusion|Mass", "No Finding", "Effusion"]
    rows = plain_rows(24, label=lambda n: cells[n % 4])
    made = data_list_from_table(
        write(tmp_path, rows), label_separator="|", negative_labels=["No Finding"], label_column="label"
    )
    assert made.task == "multilabel" and made.classes == ("Effusion", "Mass")
    expected = {row["image"]: row["label"] for row in rows}
    for item in items(made):
        assert item["label"] == [float(name in expected[item["key"]].split("|")) for name in made.classes]


def test_a_finding_beside_no_finding_is_an_error_with_its_row(tmp_path: Path) -> None:
    rows = plain_rows(24, label=lambda n: "No Finding|Mass" if n == 5 else "Mass")
    with pytest.raises(ValueError, match=r"row 7: 'No Finding\|Mass' holds a finding beside 'No Finding'"):
        data_list_from_table(write(tmp_path, rows), label_separator="|", negative_labels=["No Finding"])


def test_an_unknown_finding_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 3: label 'b' is not in classes"):
        data_list_from_table(write(tmp_path, plain_rows()), label_separator="|", classes=["a"])


def test_grades_have_an_order_that_travels_with_the_list(tmp_path: Path) -> None:
    rows = plain_rows(60, label=lambda n: n % 3 * 5)
    made = data_list_from_table(write(tmp_path, rows), ordered=True)
    assert made.classes == ("0", "5", "10") and made.ordered
    made.save(tmp_path / "list.json")
    assert FPTDataList.load(tmp_path / "list.json", tmp_path) == made
    assert made.digest != data_list_from_table(tmp_path / "labels.csv").digest


def test_an_order_of_words_must_be_given(tmp_path: Path) -> None:
    table = write(tmp_path, plain_rows(60, label=lambda n: ("none", "mild", "severe")[n % 3]))
    with pytest.raises(
        ValueError, match=r"order of the classes \['mild', 'none', 'severe'\] is not known.*give classes"
    ):
        data_list_from_table(table, ordered=True)
    assert data_list_from_table(table, ordered=True, classes=["none", "mild", "severe"]).classes[0] == "none"


def test_an_empty_label_is_an_error_unless_its_meaning_is_said(tmp_path: Path) -> None:
    table = write(tmp_path, plain_rows(22, label=lambda n: "" if n in (3, 8) else "ab"[n % 2]))
    with pytest.raises(
        ValueError, match=r"row 5, 10: column 'label' is empty \(2 row\(s\)\).*missing_labels to 'drop'"
    ):
        data_list_from_table(table)
    with pytest.warns(UserWarning, match="2 of 22 rows have no label and are left out, first row 5, 10"):
        made = data_list_from_table(table, missing_labels="drop")
    assert len(items(made)) == 20 and not {"f1/1.png", "f0/4.png"} & {item["key"] for item in items(made)}
    with pytest.raises(ValueError, match="'negative' is for several labels"):
        data_list_from_table(table, missing_labels="negative")


def test_empty_cells_of_several_labels_may_mean_no_finding(tmp_path: Path) -> None:
    rows = plain_rows(24, x=lambda n: "" if n % 3 else 1, y=lambda n: n % 2)
    made = data_list_from_table(write(tmp_path, rows), label_columns=["x", "y"], missing_labels="negative")
    expected = {row["image"]: [float(row["x"] == 1), float(row["y"])] for row in rows}
    assert all(item["label"] == expected[item["key"]] for item in items(made))
    with pytest.raises(ValueError, match="column 'x' is empty"):
        data_list_from_table(tmp_path / "labels.csv", label_columns=["x", "y"])


def test_frames_of_a_file_are_images_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"image": f"{n // 4}.nii.gz", "slice": n % 4, "label": "ab"[n // 4 % 2], "patient": n // 4} for n in range(48)
    ]
    made = data_list_from_table(write(tmp_path, rows))
    assert len({item["key"] for item in items(made)}) == 48
    assert all(item["key"].endswith(f".nii.gz#{item['frame']}") for item in items(made))
    made.save(tmp_path / "list.json")
    assert FPTDataList.load(tmp_path / "list.json", tmp_path) == made
    rows[0]["slice"] = "first"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="row 2: column 'slice' is 'first', no number from 0"):
        data_list_from_table(write(tmp_path, rows))


def test_a_name_without_suffix_finds_its_only_image(tmp_path: Path) -> None:
    write(tmp_path, plain_rows())
    bare = [{**row, "image": row["image"].removesuffix(".png")} for row in plain_rows()]
    made = data_list_from_table(write(tmp_path, bare, "bare.csv", make_images=False))
    assert made == data_list_from_table(tmp_path / "labels.csv")
    (tmp_path / "f0" / "0.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"image 'f0/0' may be any of \['0.jpg', '0.png'\]"):
        data_list_from_table(tmp_path / "bare.csv")


def test_laterality_and_view_are_kept_for_the_preprocessing(tmp_path: Path) -> None:
    rows = plain_rows(Side=lambda n: ("LEFT", "right")[n % 2], view=lambda n: "CC")
    made = data_list_from_table(write(tmp_path, rows))
    assert {(item["laterality"], item["view"]) for item in items(made)} == {("L", "CC"), ("R", "CC")}
    made.save(tmp_path / "list.json")
    assert FPTDataList.load(tmp_path / "list.json", tmp_path) == made


def test_a_group_or_split_column_can_be_passed_over(tmp_path: Path) -> None:
    table = write(tmp_path, plain_rows(patient=lambda n: n // 2, split=lambda n: "train" if n < 16 else "test"))
    made = build_data_list(tmp_path, table, group_column="", split_column="")
    assert len(made.test) == 4 and not any("group" in item for item in items(made))


def test_words_of_a_command_line_mean_what_they_say(tmp_path: Path) -> None:
    table = write(tmp_path, plain_rows())
    assert not build_data_list(tmp_path, table, ordered="false").ordered  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ordered='maybe' is neither true nor false"):
        build_data_list(tmp_path, table, ordered="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"classes is the text 'ab', not a list of names"):
        build_data_list(tmp_path, table, classes="ab")


@pytest.mark.parametrize("pair", [("0", "0.0"), ("benign", "Benign"), ("007", "7"), ("a b", "a  b")], ids=str)
def test_one_class_in_two_spellings_is_an_error(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="writes one class as"):
        data_list_from_table(write(tmp_path, plain_rows(label=lambda n: pair[n % 2])))


@pytest.mark.parametrize("word", ["NA", "nan", "N/A", "NULL"])
def test_a_word_for_a_missing_label_is_no_class_unless_named(tmp_path: Path, word: str) -> None:
    table = write(tmp_path, plain_rows(30, label=lambda n: ("a", "b", word)[n % 3]))
    with pytest.raises(ValueError, match=f"row 4: column 'label' is '{word}', which usually means"):
        data_list_from_table(table)
    with pytest.warns(UserWarning, match="10 of 30 rows have no label"):
        assert data_list_from_table(table, missing_labels="drop").classes == ("a", "b")
    assert len(data_list_from_table(table, classes=["a", "b", word]).classes) == 3


def test_a_word_for_a_missing_patient_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all their images would be one patient"):
        data_list_from_table(write(tmp_path, plain_rows(patient=lambda n: "NA" if n < 9 else n)))


def test_frames_of_a_file_are_never_in_two_sections(tmp_path: Path) -> None:
    rows = [{"image": f"{n // 4}.nii", "slice": n % 4, "label": "ab"[n // 4 % 2]} for n in range(96)]
    made = data_list_from_table(write(tmp_path, rows))
    homes: dict[str, set[str]] = {}
    for section in ("training", "validation", "test"):
        for item in made.section(section):
            homes.setdefault(item["image"], set()).add(section)
    assert len(homes) == 24 and all(len(sections) == 1 for sections in homes.values())
    split = [{**row, "split": ("train", "test")[n % 2]} for n, row in enumerate(rows)]
    with pytest.raises(ValueError, match="occur in more than one split"):
        data_list_from_table(write(tmp_path, split))


def test_a_file_with_and_without_a_frame_is_an_error(tmp_path: Path) -> None:
    rows = [{"image": f"{n // 2}.nii", "slice": "" if n == 3 else n % 2, "label": "ab"[n // 2 % 2]} for n in range(40)]
    with pytest.raises(ValueError, match="a row without a frame and one with it"):
        data_list_from_table(write(tmp_path, rows))


def test_a_parquet_index_of_patients_is_a_column(tmp_path: Path) -> None:
    rows = plain_rows(patient=lambda n: f"{n // 2:03}")
    expected = data_list_from_table(write(tmp_path, rows))
    pd.DataFrame(rows).set_index("patient").to_parquet(tmp_path / "a.parquet")
    assert data_list_from_table(tmp_path / "a.parquet") == expected


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, plain_rows())
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text(
        "\n".join(f"{line},{'label' if n == 0 else 'a'}" for n, line in enumerate(lines))
    )
    with pytest.raises(ValueError, match=r"more than one column \['label'\]"):
        data_list_from_table(tmp_path / "twice.csv")
    (tmp_path / "alike.csv").write_text(
        "\n".join(f"{line},{'La bel' if n == 0 else 'a'}" for n, line in enumerate(lines))
    )
    with pytest.raises(ValueError, match="columns 'label' and 'La bel' have one name"):
        data_list_from_table(tmp_path / "alike.csv")


def test_a_second_sheet_with_rows_is_not_dropped_in_silence(tmp_path: Path) -> None:
    write(tmp_path, plain_rows())
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame(plain_rows()[:10]).to_excel(book, sheet_name="one", index=False)
        pd.DataFrame(plain_rows()[10:]).to_excel(book, sheet_name="two", index=False)
    with pytest.raises(ValueError, match=r"sheets \['one', 'two'\] all hold rows"):
        data_list_from_table(tmp_path / "a.xlsx")


def test_a_word_for_no_finding_counts_in_any_case(tmp_path: Path) -> None:
    rows = plain_rows(24, label=lambda n: ("Mass", "Effusion", "no finding")[n % 3])
    made = data_list_from_table(write(tmp_path, rows), label_separator="|", negative_labels=["No Finding"])
    assert made.classes == ("Effusion", "Mass")
