"""Mini-DDSM and CMMD: masks are no images, and a breast has the label of that breast."""

from __future__ import annotations

import gzip
from pathlib import Path

import dataset_trees as trees
import pandas as pd
import pytest

from monai_fpt.data import FPTDataList
from monai_fpt.data.datasets import cmmd as cmmd_module
from monai_fpt.data.datasets import fpt_dataset_list

pytestmark = pytest.mark.filterwarnings("ignore:.*an incomplete copy")
SECTIONS = ("training", "validation", "test")


def all_items(data: FPTDataList) -> list[dict[str, object]]:
    return [item for name in SECTIONS for item in data.section(name)]


def assert_groups_whole(data: FPTDataList) -> None:
    homes: dict[str, set[str]] = {}
    for name in SECTIONS:
        for item in data.section(name):
            homes.setdefault(item["group"], set()).add(name)
    assert all(len(found) == 1 for found in homes.values())


def test_mini_ddsm_reads_sixteen_bit_images_and_no_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.mini_ddsm(tmp_path)
    data = fpt_dataset_list("mini_ddsm", tmp_path, progress=False)
    items = all_items(data)
    assert len(items) == 3 * 4 * 4 and data.classes == ("Normal", "Benign", "Cancer")
    assert all("PNG-16/" in str(item["key"]) and "ask" not in str(item["key"]) for item in items)
    assert all(f"/{data.classes[item['label']]}/" in str(item["key"]) for item in items)
    assert_groups_whole(data)
    assert "10 mask files are no images" in capsys.readouterr().out


def test_mini_ddsm_items_say_side_view_digitiser_and_age(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path)
    item = next(
        i
        for i in all_items(fpt_dataset_list("mini_ddsm", tmp_path, progress=False))
        if "C_0202_1.RIGHT_MLO" in str(i["key"])
    )
    assert {k: item[k] for k in ("group", "laterality", "view", "source", "age", "density", "class_name")} == {
        "group": "C_0202_1", "laterality": "R", "view": "MLO", "source": "C", "age": "52.0", "density": "2", "class_name": "Cancer",
    }  # fmt: skip
    unknown = next(
        i for i in all_items(fpt_dataset_list("mini_ddsm", tmp_path, progress=False)) if "A_0200_1" in str(i["key"])
    )
    assert unknown["age"] == ""


def test_mini_ddsm_variant_can_be_chosen(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path)
    data = fpt_dataset_list("mini_ddsm", tmp_path, variant="jpeg8", progress=False)
    assert all(str(item["key"]).endswith(".jpg") for item in all_items(data))
    with pytest.raises(ValueError, match="variant is 'png8'"):
        fpt_dataset_list("mini_ddsm", tmp_path, variant="png8", progress=False)
    trees.mini_ddsm(tmp_path / "only", jpeg=False)
    with pytest.raises(ValueError, match=r"no variant 'jpeg8' .* only \['png16'\]"):
        fpt_dataset_list("mini_ddsm", tmp_path / "only", variant="jpeg8", progress=False)


@pytest.mark.parametrize("table", [True, False], ids=["by DataWMask.xlsx", "by mask files"])
def test_mini_ddsm_by_breast_calls_the_other_breast_normal(tmp_path: Path, table: bool) -> None:
    trees.mini_ddsm(tmp_path, table=table)
    for item in all_items(fpt_dataset_list("mini_ddsm", tmp_path, label_level="breast", progress=False)):
        diseased = item["laterality"] == "L" and "/Normal/" not in str(item["key"])
        assert item["class_name"] == (str(item["key"]).split("/")[1] if diseased else "Normal")


def test_mini_ddsm_cases_without_contour_are_left_out_by_breast(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path, jpeg=False)
    (tmp_path / "MINI-DDSM-Complete-PNG-16/Cancer/0001/B_0201_1.LEFT_CC_Mask.png").unlink()
    with pytest.warns(UserWarning, match="4 images of cases without any contour are left out"):
        data = fpt_dataset_list("mini_ddsm", tmp_path, label_level="breast", progress=False)
    assert len(all_items(data)) == 44
    for mask in tmp_path.rglob("*ask*.png"):
        mask.unlink()
    with pytest.raises(ValueError, match=r"needs DataWMask\.xlsx or the mask files"):
        fpt_dataset_list("mini_ddsm", tmp_path, label_level="breast", progress=False)


def test_mini_ddsm_contradictions_are_errors(tmp_path: Path) -> None:
    trees.mini_ddsm(tmp_path, jpeg=False)
    twin = trees.write_image(tmp_path / "MINI-DDSM-Complete-PNG-16/Cancer/0000/A_0000_1.LEFT_CC.png", mode="I;16")
    with pytest.raises(ValueError, match="case A_0000_1 lies in"):
        fpt_dataset_list("mini_ddsm", tmp_path, progress=False)
    twin.unlink()
    pd.DataFrame(
        [["Cancer\\0000\\A_0100_1.LEFT_CC.jpg", "A_0100_1.LEFT_CC.jpg", "Cancer", "-", "-"]],
        columns=["fullPath", "fileName", "Status", "Tumour_Contour", "Tumour_Contour2"],
    ).to_excel(tmp_path / "DataWMask.xlsx", index=False)
    with pytest.raises(ValueError, match=r"lies in 'Benign', DataWMask\.xlsx has 'Cancer'"):
        fpt_dataset_list("mini_ddsm", tmp_path, progress=False)


def test_an_unnamed_release_of_mini_ddsm_loads_and_is_not_called_incomplete(tmp_path: Path, recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    trees.mini_ddsm(tmp_path, jpeg=False)
    (tmp_path / "MINI-DDSM-Complete-PNG-16").rename(tmp_path / "mini")
    assert len(all_items(fpt_dataset_list("mini_ddsm", tmp_path, progress=False))) == 48
    assert "9,684 according to an unverified source" in capsys.readouterr().out
    assert not [w for w in recwarn if "incomplete" in str(w.message)]


@pytest.mark.parametrize(
    ("folder", "xlsx"),
    [("CMMD", True), ("manifest-1616439774456/CMMD", False)],
    ids=["workbook", "csv below a manifest folder"],
)
def test_cmmd_labels_follow_the_breast_and_not_the_patient(tmp_path: Path, folder: str, xlsx: bool) -> None:
    trees.cmmd(tmp_path, folder=folder, xlsx=xlsx)
    data = fpt_dataset_list("cmmd", tmp_path, progress=False)
    items = all_items(data)
    mixed = {(i["laterality"], i["class_name"]) for i in items if i["group"] == "D1-0087"}
    assert mixed == {("R", "Malignant"), ("L", "Benign")}
    assert {i["laterality"] for i in items if i["group"] == "D2-0600"} == {"L"}
    assert len(items) == 24 + 4 + 2
    assert_groups_whole(data)


def test_cmmd_files_of_one_name_stay_apart_and_say_side_and_view(tmp_path: Path) -> None:
    trees.cmmd(tmp_path)
    items = {str(i["key"]): i for i in all_items(fpt_dataset_list("cmmd", tmp_path, progress=False))}
    own = [key for key in items if key.endswith("/1-1.dcm")]
    assert len(own) == 14
    first = items["CMMD/D1-0001/07-18-2010-NA-NA-79000/1.000000-NA-70000/1-1.dcm"]
    assert (first["laterality"], first["view"], first["age"]) == ("R", "MLO", "40")


def test_cmmd_other_breast_may_be_a_third_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.cmmd(tmp_path)
    fpt_dataset_list("cmmd", tmp_path, progress=False)
    assert "2 images of the other, unlabelled breast of labelled patients are left out" in capsys.readouterr().out
    data = fpt_dataset_list("cmmd", tmp_path, unlabelled="normal", progress=False)
    assert data.classes == ("Benign", "Malignant", "Normal")
    normal = [item for item in all_items(data) if item["label"] == 2]
    assert {(i["group"], i["laterality"]) for i in normal} == {("D2-0600", "R")} and len(normal) == 2


def test_cmmd_prints_the_licence_of_the_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.cmmd(tmp_path)
    fpt_dataset_list("cmmd", tmp_path, progress=False)
    assert (
        "Licence of CMMD: Creative Commons Attribution 4.0 International (first line of LICENSE)"
        in capsys.readouterr().out
    )


def test_cmmd_images_without_row_or_side_are_said(tmp_path: Path) -> None:
    trees.cmmd(tmp_path)
    trees.write_mammogram(tmp_path / "CMMD/D1-0999/s/t/1-1.dcm", "D1-0999", "L", "CC")
    trees.write_mammogram(tmp_path / "CMMD/D1-0001/s/t/1-3.dcm", "D1-0001", "", "CC")
    with pytest.warns(UserWarning) as said:
        data = fpt_dataset_list("cmmd", tmp_path, progress=False)
    texts = "\n".join(str(warning.message) for warning in said)
    assert "1 images are of patients without a row" in texts and "1 images do not say their side" in texts
    assert len(all_items(data)) == 30


def test_cmmd_two_copies_of_an_image_are_refused(tmp_path: Path) -> None:
    trees.cmmd(tmp_path)
    first = tmp_path / "CMMD/D1-0001/07-18-2010-NA-NA-79000/1.000000-NA-70000/1-1.dcm"
    (first.parent / "copy.dcm").write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match="are the same image"):
        fpt_dataset_list("cmmd", tmp_path, progress=False)


def test_cmmd_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    trees.cmmd(tmp_path, xlsx=False)
    table = tmp_path / "CMMD_clinicaldata_revision.csv"
    text = table.read_text()
    table.write_text(text + "".join(f"D1-1{n:03d},R,40,2,mass,Benign,\n" for n in range(5)))
    with pytest.raises(ValueError, match=r"only 15 of 20 rows of label file"):
        fpt_dataset_list("cmmd", tmp_path, progress=False)
    table.write_text(text + "D1-0001,R,40,2,mass,Malignant,\n")
    with pytest.raises(ValueError, match="contradicts an earlier row"):
        fpt_dataset_list("cmmd", tmp_path, progress=False)
    table.write_text(text + "D1-0002,B,40,2,mass,Benign,\n")
    with pytest.raises(ValueError, match="side 'B'"):
        fpt_dataset_list("cmmd", tmp_path, progress=False)


def test_the_complete_listing_of_mini_ddsm_gives_the_published_counts(tmp_path: Path, label_files: Path) -> None:
    listing = gzip.decompress((label_files / "miniddsm_real_file_tree.txt.gz").read_bytes()).decode()
    for line in listing.splitlines():
        if "/MINI-DDSM-Complete-PNG-16/" in line and (line.strip().endswith(".png") or ".OVERLAY" in line):
            path = tmp_path / line.strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "DataWMask.xlsx").write_bytes((label_files / "MiniDDSM_DataWMask.xlsx").read_bytes())
    by_case = fpt_dataset_list("mini_ddsm", tmp_path, progress=False)
    counts = [sum(column) for column in zip(*(by_case.class_counts(s) for s in SECTIONS), strict=True)]
    assert counts == [2408, 2684, 2716]
    assert_groups_whole(by_case)
    assert len({i["group"] for i in all_items(by_case)}) == 1952
    by_breast = fpt_dataset_list("mini_ddsm", tmp_path, label_level="breast", progress=False)
    assert sum(by_breast.class_counts(s)[2] for s in SECTIONS) == 1480


def test_the_real_headers_and_table_of_cmmd_give_the_published_counts(
    tmp_path: Path, label_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = pd.read_csv(label_files / "CMMD_dicom_headers.csv.gz", dtype=str)
    known = {}
    for n, row in headers.iterrows():
        path = tmp_path / "CMMD" / row.patient_id / f"{row.image_id}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        known[path] = (row.patient_id, row.laterality, {"399162004": "CC", "399368009": "MLO"}[row.__CodeValue], str(n))
    monkeypatch.setattr(cmmd_module, "_header", lambda path, root: known[path])
    (tmp_path / "CMMD_clinicaldata_revision.xlsx").write_bytes(
        (label_files / "CMMD_clinicaldata_revision.xlsx").read_bytes()
    )
    data = fpt_dataset_list("cmmd", tmp_path, unlabelled="normal", progress=False)
    counts = [sum(column) for column in zip(*(data.class_counts(s) for s in SECTIONS), strict=True)]
    assert counts == [1112, 2632, 1458]
    assert len({i["group"] for i in all_items(data)}) == 1775
    assert_groups_whole(data)
