"""ISIC 2016 and 2018: label codings, column orders and moved files never shift a label."""

from __future__ import annotations

import shutil
from pathlib import Path

import dataset_trees as trees
import pytest

from monai_fpt.data.datasets import fpt_dataset_list

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy")


def labels_of(items: list[dict[str, object]]) -> dict[str, object]:
    return {Path(str(item["key"])).stem: item["label"] for item in items}


def test_isic2016_words_and_numbers_without_header_are_read(tmp_path: Path) -> None:
    trees.isic2016(tmp_path)
    data = fpt_dataset_list("isic2016", tmp_path, progress=False)
    seen = labels_of(data.training) | labels_of(data.validation)
    assert seen == {f"ISIC_{10 * n:07d}": n % 2 for n in range(20)}
    assert labels_of(data.test) == {f"ISIC_{3 + 10 * n:07d}": n % 2 for n in range(10)}
    assert data.classes == ("benign", "malignant") and len(data.validation) == 2


@pytest.mark.parametrize(
    ("header", "order"),
    [("img_id,Label", (0, 1)), ("image_id,malignant", (0, 1)), ("image_id;target", (0, 1)), ("label,image_id", (1, 0)), (",image,age,label", (None, 0, None, 1))],
    ids=["a header", "a column called as a label", "semicolons", "columns exchanged", "more columns"],
)  # fmt: skip
def test_isic2016_copies_with_a_header_lose_no_image(
    tmp_path: Path, header: str, order: tuple[int | None, ...]
) -> None:
    trees.isic2016(tmp_path)
    path = tmp_path / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    separator = ";" if ";" in header else ","
    rows = [row.split(",") for row in path.read_text().split()]
    text = [header, *(separator.join("7" if c is None else row[c] for c in order) for row in rows)]
    path.write_text("\n".join(text))
    data = fpt_dataset_list("isic2016", tmp_path, progress=False)
    assert labels_of(data.training) | labels_of(data.validation) == {f"ISIC_{10 * n:07d}": n % 2 for n in range(20)}


def test_isic2016_cells_that_are_no_label_are_named(tmp_path: Path) -> None:
    trees.isic2016(tmp_path)
    with (tmp_path / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv").open("a") as file:
        file.write("ISIC_0000001,nevus\n")
    with pytest.raises(ValueError, match=r"row 11 is \['ISIC_0000001', 'nevus'\]"):
        fpt_dataset_list("isic2016", tmp_path, progress=False)


@pytest.mark.parametrize("label", ["", "melanoma"])
@pytest.mark.parametrize("name", ["ISIC_0000000", "images/ISIC_0000000.jpg"])
def test_isic2016_first_row_without_a_label_is_no_header(tmp_path: Path, name: str, label: str) -> None:
    trees.isic2016(tmp_path)
    path = tmp_path / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    path.write_text(path.read_text().replace("ISIC_0000000,benign", f"{name},{label}"))
    with pytest.raises(ValueError, match=rf"row 1 is \['{name}', '{label}'\], not an image and benign"):
        fpt_dataset_list("isic2016", tmp_path, progress=False)


def test_isic2016_without_test_is_refused_as_official_and_dealt_otherwise(tmp_path: Path) -> None:
    trees.isic2016(tmp_path, train=40)
    (tmp_path / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv").unlink()
    with pytest.raises(ValueError, match=r"no images of the official section\(s\) test"):
        fpt_dataset_list("isic2016", tmp_path, progress=False)
    with pytest.warns(UserWarning, match="no groups are known"):
        data = fpt_dataset_list("isic2016", tmp_path, split="grouped", progress=False)
    assert [len(data.section(s)) for s in ("training", "validation", "test")] == [28, 4, 8]


@pytest.mark.parametrize(
    ("columns", "zero"),
    [
        (trees.ISIC2018_CLASSES, "0.0"),
        (("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC"), "0"),
    ],
    ids=["original", "alphabetical copy with integers"],
)
def test_isic2018_columns_are_read_by_name(tmp_path: Path, columns: tuple[str, ...], zero: str) -> None:
    expected = trees.isic2018(tmp_path, columns=columns, zero=zero)
    data = fpt_dataset_list("isic2018", tmp_path, progress=False)
    assert data.classes == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    seen = [data.section(s) for s in ("training", "validation", "test")]
    assert labels_of([item for items in seen for item in items]) == expected
    assert [len(items) for items in seen] == [28, 28, 28]
    assert all("_Validation_Input/" in item["key"] for item in data.validation)


def test_isic2018_files_are_found_where_users_move_them(tmp_path: Path) -> None:
    expected = trees.isic2018(tmp_path / "a")
    for part in ("Training", "Validation", "Test"):
        stem = f"ISIC2018_Task3_{part}_GroundTruth"
        shutil.move(tmp_path / "a" / stem / f"{stem}.csv", tmp_path / "a" / f"{stem}.csv")
        folder = tmp_path / "a" / f"ISIC2018_Task3_{part}_Input"
        shutil.move(folder, tmp_path / "inner")
        folder.mkdir()
        shutil.move(tmp_path / "inner", folder / folder.name)
    data = fpt_dataset_list("isic2018", tmp_path, progress=False)
    assert labels_of(data.training + data.validation + data.test) == expected


def test_isic2018_rows_must_be_one_hot(tmp_path: Path) -> None:
    trees.isic2018(tmp_path)
    path = tmp_path / "ISIC2018_Task3_Test_GroundTruth" / "ISIC2018_Task3_Test_GroundTruth.csv"
    rows = path.read_text().split("\n")
    path.write_text("\n".join([rows[0], rows[1].replace("0.0", "1.0", 1), *rows[2:]]))
    with pytest.raises(ValueError, match=r"row 2 has .* not exactly one 1"):
        fpt_dataset_list("isic2018", tmp_path, progress=False)


def test_isic2018_lesions_stay_together_when_validation_is_dealt_off(tmp_path: Path) -> None:
    trees.isic2018(tmp_path, per_class=8)
    shutil.rmtree(tmp_path / "ISIC2018_Task3_Validation_GroundTruth")
    with pytest.warns(UserWarning, match="the official validation section is absent"):
        data = fpt_dataset_list("isic2018", tmp_path, val_fraction=0.25, progress=False)
    assert len(data.training) + len(data.validation) == 56 and data.validation
    training, validation = ({i["group"] for i in items} for items in (data.training, data.validation))
    assert not training & validation and len(training | validation) == 28
    assert all("_Test_Input/" in item["key"] for item in data.test)


def test_isic2018_takes_lesions_and_facts_of_ham10000(tmp_path: Path) -> None:
    trees.isic2018(tmp_path)
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").unlink()
    with pytest.warns(UserWarning, match="there is no ISIC2018_Task3_Training_LesionGroupings.csv"):
        assert "group" not in fpt_dataset_list("isic2018", tmp_path, progress=False).training[0]
    rows = [f"HAM_{n // 2:07d},ISIC_{24306 + n:07d},bkl,histo,80.0,male,scalp" for n in range(27)]
    trees.write_text(
        tmp_path / "HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + "\n".join(rows)
    )
    with pytest.warns(UserWarning, match="1 of 28 training images have no lesion"):
        data = fpt_dataset_list("isic2018", tmp_path, progress=False)
    first = data.training[0]
    assert (first["group"], first["age"], first["sex"], first["localization"]) == (
        "HAM_0000000",
        "80.0",
        "male",
        "scalp",
    )
    assert data.training[-1]["age"] == "" and data.training[-1]["group"].startswith("image ")
    assert "group" not in data.test[0]
