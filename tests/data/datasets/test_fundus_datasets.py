"""Messidor-2 and DDR: grades land on the right eyes, patients stay together, wrong label files are refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import dataset_trees as trees
import pytest

from monai_fpt.data import FPTDataList
from monai_fpt.data.datasets import DDRDataset, Messidor2Dataset, fpt_dataset_list, merge_parts

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy")
SECTIONS = ("training", "validation", "test")


def items_of(data: FPTDataList) -> dict[str, dict[str, object]]:
    return {Path(item["key"]).name: item for name in SECTIONS for item in data.section(name)}


def sections_of_groups(data: FPTDataList) -> dict[str, set[str]]:
    homes: dict[str, set[str]] = {}
    for name in SECTIONS:
        for item in data.section(name):
            homes.setdefault(item["group"], set()).add(name)
    return homes


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_messidor2_grades_are_joined_whatever_the_case_of_the_suffix(tmp_path: Path) -> None:
    grades = trees.messidor2(tmp_path)
    data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    assert {name: item["label"] for name, item in items_of(data).items()} == grades
    assert data.ordered and len(data.classes) == 5
    assert items_of(data)["IM004002.JPG"]["class_name"] == "mild NPDR"


def test_messidor2_pairs_stay_in_one_section(tmp_path: Path) -> None:
    trees.messidor2(tmp_path)
    data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    homes = sections_of_groups(data)
    assert len(homes) == 15 and all(len(found) == 1 for found in homes.values())
    found = items_of(data)
    assert all(found[left]["group"] == found[right]["group"] for left, right in trees.messidor2_names(15))


@pytest.mark.parametrize("header", ["left;right", "right,left"])
def test_messidor2_pair_list_may_have_either_separator_and_any_header(tmp_path: Path, header: str) -> None:
    trees.messidor2(tmp_path)
    pair_list = tmp_path / "messidor-2.csv"
    separator = ";" if ";" in header else ","
    rows = pair_list.read_text().splitlines()[1:]
    pair_list.write_text("\n".join([header, *(row.replace(";", separator) for row in rows)]))
    assert len(sections_of_groups(fpt_dataset_list("messidor2", tmp_path, progress=False))) == 15


def test_messidor2_pair_list_may_leave_suffixes_out(tmp_path: Path) -> None:
    trees.messidor2(tmp_path)
    expected = fpt_dataset_list("messidor2", tmp_path, progress=False)
    pair_list = tmp_path / "messidor-2.csv"
    pair_list.write_text("".join(pair_list.read_text().replace(".JPG", "").replace(".png", "")))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert fpt_dataset_list("messidor2", tmp_path, progress=False) == expected
    assert not [warning for warning in said if "messidor-2.csv" in str(warning.message)]


def test_messidor2_pair_list_of_other_images_or_of_no_pairs_is_not_taken_for_patients(tmp_path: Path) -> None:
    trees.messidor2(tmp_path)
    trees.write_text(tmp_path / "messidor-2.csv", "left;right\n10_left;10_right\n")
    with pytest.raises(ValueError, match=r"'messidor-2\.csv' names none of the 30 images .*'10_left', '10_right'"):
        fpt_dataset_list("messidor2", tmp_path, progress=False)
    trees.write_text(tmp_path / "messidor-2.csv", "image\n" + "\n".join(sum(trees.messidor2_names(15), ())))
    with pytest.warns(UserWarning, match=r"no row of messidor-2\.csv names two of the images"):
        fpt_dataset_list("messidor2", tmp_path, progress=False)


def test_messidor2_says_what_is_ungradable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.messidor2(tmp_path)
    data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    assert "20060101_99999_0100_PP.png" not in items_of(data)
    assert "1 ungradable image(s) are left out" in capsys.readouterr().out


def test_messidor2_without_pair_list_warns_that_both_eyes_may_leak(tmp_path: Path) -> None:
    trees.messidor2(tmp_path, pair_list=False)
    with pytest.warns(UserWarning, match="both eyes of a patient may be in two sections"):
        data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    assert "group" not in data.training[0]


def test_messidor2_mirror_with_other_columns_and_nested_folders_loads(tmp_path: Path) -> None:
    grades = {f"20051020_{43000 + n}_0100_PP.png": n % 5 for n in range(20)}
    trees.write_images(tmp_path / "messidor-2/messidor-2/preprocess", list(grades))
    rows = "".join(f"{grade},{name},1,0\n" for name, grade in grades.items())
    trees.write_text(
        tmp_path / "labels_of_messidor.csv", "diagnosis,id_code,adjudicated_gradable,adjudicated_dme\n" + rows
    )
    with pytest.warns(UserWarning, match="no pair list"):
        data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    assert {name: item["label"] for name, item in items_of(data).items()} == grades


def test_a_label_file_of_other_images_is_refused(tmp_path: Path) -> None:
    trees.messidor2(tmp_path)
    rows = "".join(f"{n}_left.jpeg,0,0,1\n" for n in range(4)) + "IM004002.jpg,1,0,1\n"
    trees.write_text(tmp_path / "messidor_data.csv", "image_id,adjudicated_dr_grade,x,adjudicated_gradable\n" + rows)
    with pytest.raises(ValueError, match=r"only 1 of 5 rows of label file 'messidor_data.csv' find an image"):
        fpt_dataset_list("messidor2", tmp_path, progress=False)
    trees.write_text(tmp_path / "messidor_data.csv", "image,level\n10_left,0\n")
    with pytest.raises(
        ValueError, match=r"no column adjudicated_dr_grade or diagnosis, its columns are \['image', 'level'\]"
    ):
        fpt_dataset_list("messidor2", tmp_path, progress=False)


def test_rows_without_image_and_images_without_row_are_said(tmp_path: Path) -> None:
    trees.messidor2(tmp_path)
    (tmp_path / "IMAGES/IM004002.JPG").unlink()
    trees.write_image(tmp_path / "IMAGES/IM009999.JPG")
    with pytest.warns(UserWarning) as said:
        data = fpt_dataset_list("messidor2", tmp_path, progress=False)
    texts = "\n".join(str(warning.message) for warning in said)
    assert "1 label row(s) have no image, first 'IM004002.jpg of messidor_data.csv'" in texts
    assert "1 image(s) have no label and are left out, first 'IMAGES/IM009999.JPG'" in texts
    assert len(items_of(data)) == 29


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: trees.write_image(root / "old/IM004002.JPG"), "lies below .* 2 times"),
        (lambda root: trees.write_text(root / "old/messidor_data.csv", "x"), "2 files called 'messidor_data.csv'"),
        (lambda root: append(root / "messidor_data.csv", "IM004002.JPG,1,0,1\n"), "two rows .* mean image"),
        (lambda root: append(root / "messidor_data.csv", "x.png,7,0,1\n"), "grade '7', which is none of 0 to 4"),
    ],
    ids=["two images of one name", "two label files", "two rows of one image", "no grade"],
)  # fmt: skip
def test_contradictions_are_errors(tmp_path: Path, change: object, message: str) -> None:
    trees.messidor2(tmp_path)
    change(tmp_path)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        fpt_dataset_list("messidor2", tmp_path, progress=False)


def test_messidor2_that_is_not_there_tells_the_steps(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        Messidor2Dataset(tmp_path, "training", download=True)
    text = str(caught.value)
    assert "  1. " in text and "  4. " in text and "IMAGES/" in text and "Licence: research" in text


def test_ddr_official_sections_are_obeyed_and_label_5_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = trees.ddr(tmp_path)
    data = fpt_dataset_list("ddr", tmp_path, progress=False)
    for section, part in zip(SECTIONS, ("train", "valid", "test"), strict=True):
        assert {Path(i["key"]).name: i["label"] for i in data.section(section)} == labels[part]
        assert all(f"DR_grading/{part}/" in item["key"] for item in data.section(section))
    assert "3 ungradable image(s) are left out" in capsys.readouterr().out
    assert data.ordered and "group" not in data.training[0]


def test_ddr_split_of_our_own_keeps_near_times_together(tmp_path: Path) -> None:
    trees.ddr(tmp_path)
    data = fpt_dataset_list("ddr", tmp_path, split="grouped", progress=False)
    homes = sections_of_groups(data)
    assert all(len(found) == 1 for found in homes.values())
    together = [group for group in homes if group.startswith("time ")]
    assert len(together) == 3 * 1  # ten pictures of each section's session, seconds to a minute apart
    with pytest.warns(UserWarning, match="split image by image: no list of patients is published"):
        fpt_dataset_list("ddr", tmp_path, split="image", progress=False)


def test_ddr_without_valid_txt_deals_validation_off_training(tmp_path: Path) -> None:
    labels = trees.ddr(tmp_path, each=20)
    (tmp_path / "DDR-dataset/DR_grading/valid.txt").unlink()
    with pytest.warns(UserWarning, match=r"there is no valid\.txt"):
        data = fpt_dataset_list("ddr", tmp_path, progress=False)
    dealt = {Path(i["key"]).name for i in data.training + data.validation}
    assert data.validation and dealt == set(labels["train"])
    assert {Path(i["key"]).name for i in data.test} == set(labels["test"])


def test_ddr_mirror_without_sections_is_said(tmp_path: Path) -> None:
    trees.write_images(tmp_path / "DR_images", [f"{n}.jpg" for n in range(30)])
    trees.write_text(
        tmp_path / "DR_grading.csv", "id_code,diagnosis\n" + "".join(f"{n}.jpg,{n % 5}\n" for n in range(30))
    )
    with pytest.warns(UserWarning, match="repackaging without the official sections"):
        data = fpt_dataset_list("ddr", tmp_path, progress=False)
    assert {int(name[:-4]) % 5 == item["label"] for name, item in items_of(data).items()} == {True}
    with pytest.raises(ValueError, match="no official split"):
        fpt_dataset_list("ddr", tmp_path, split="official", progress=False)


def test_ddr_parts_are_named_and_can_be_joined(tmp_path: Path) -> None:
    whole = trees.write_zip(
        tmp_path / "whole.zip", {"DDR-dataset/DR_grading/train.txt": b"a.jpg 0\n" * 50}
    ).read_bytes()
    (tmp_path / "whole.zip").unlink()
    for number in range(3):
        (tmp_path / f"DDR-dataset.zip.{number + 1:03d}").write_bytes(
            whole[number * 100 : (number + 1) * 100 if number < 2 else None]
        )
    with pytest.raises(RuntimeError, match=r"DDR-dataset\.zip\.001 is one part of an archive that must be joined"):
        DDRDataset(tmp_path, "training")
    assert merge_parts(tmp_path, progress=False).read_bytes() == whole
    (tmp_path / "DDR-dataset.zip.002").unlink()
    with pytest.raises(ValueError, match=r"numbered \[1, 3\], some are missing"):
        merge_parts(tmp_path / "DDR-dataset.zip.001", progress=False)


def test_a_file_cut_off_in_the_middle_of_the_parts_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip.001").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(ValueError, match="do not make a zip archive"):
        merge_parts(tmp_path, progress=False)
    assert not (tmp_path / "a.zip").exists()
    with pytest.raises(FileNotFoundError, match="no part like"):
        merge_parts(tmp_path / "b.zip.001", progress=False)


def test_real_grade_lists_agree_with_the_published_counts(label_files: Path) -> None:
    counts = {c.class_name: c.number for c in Messidor2Dataset.counts if c.class_name}
    lines = [
        f
        for name in ("train", "crossval")
        for f in (label_files / f"GDRBench_MESSIDOR_{name}.txt").read_text().split("\n")
    ]
    grades = [int(line.split()[1]) for line in lines if line.strip()]
    assert [grades.count(g) for g in range(5)] == [counts[name] for name in Messidor2Dataset.classes]
