"""A copy is whole or its report says what is missing, extra or corrupt."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest

from monai_fpt.data.datasets import FPTDatasetCheck, Messidor2Dataset, check_fpt_dataset
from monai_fpt.data.datasets.published import FPTPublishedCount


@pytest.fixture
def small_messidor2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of which the published numbers are those of the test's tree."""
    trees.messidor2(tmp_path)
    counts = (FPTPublishedCount(31, "this test", files=True), FPTPublishedCount(30, "this test"))
    monkeypatch.setattr(Messidor2Dataset, "counts", counts)
    return tmp_path


def test_a_whole_copy_is_called_complete(small_messidor2: Path) -> None:
    report = check_fpt_dataset("messidor2", small_messidor2, progress=False)
    assert report.ok and report.images == 30
    assert str(report).startswith(f"Messidor-2 in {str(small_messidor2)!r}: complete, 30 labelled images")


def test_what_is_amiss_is_listed(small_messidor2: Path) -> None:
    (small_messidor2 / "IMAGES/IM004002.JPG").unlink()
    trees.write_image(small_messidor2 / "IMAGES/IM009999.JPG")
    whole = (small_messidor2 / "IMAGES/IM004003.JPG").read_bytes()
    (small_messidor2 / "IMAGES/IM004003.JPG").write_bytes(whole[: len(whole) // 2])
    report = check_fpt_dataset("messidor2", small_messidor2, progress=False)
    assert not report.ok
    assert report.missing == ("found 29 of 30 labelled images", "IM004002.jpg of messidor_data.csv")
    assert report.extra == ("IMAGES/IM009999.JPG",)
    assert len(report.corrupt) == 1 and report.corrupt[0].startswith("IMAGES/IM004003.JPG: cannot read image")
    assert "NOT as published" in str(report) and "missing (2):" in str(report)
    assert not check_fpt_dataset("messidor2", small_messidor2, open_images=False, progress=False).corrupt


def test_a_part_of_a_data_set_loads_but_does_not_pass(tmp_path: Path) -> None:
    trees.covid(tmp_path)
    report = check_fpt_dataset("covid", tmp_path, progress=False)
    assert not report.ok and "found 30 of 1,823 labelled images" in report.missing


def test_absent_and_contradictory_copies_are_findings(tmp_path: Path) -> None:
    report = check_fpt_dataset("ddr", tmp_path, progress=False)
    assert not report.ok and "get it by hand" in report.missing[0]
    trees.messidor2(tmp_path)
    trees.write_text(tmp_path / "messidor_data.csv", "image,level\nx,0\n")
    report = check_fpt_dataset("messidor2", tmp_path, progress=False)
    assert not report.ok and "no column" in report.corrupt[0]


def test_lost_official_sections_are_missing(tmp_path: Path) -> None:
    trees.write_images(tmp_path / "images", [f"{n}.jpg" for n in range(10)])
    trees.write_text(
        tmp_path / "DR_grading.csv", "id_code,diagnosis\n" + "".join(f"{n}.jpg,{n % 5}\n" for n in range(10))
    )
    assert "the official sections" in check_fpt_dataset("ddr", tmp_path, progress=False).missing


def test_arguments_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no 'mesidor'"):
        check_fpt_dataset("mesidor", tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        check_fpt_dataset("ddr", tmp_path / "none")


def test_long_reports_are_cut() -> None:
    report = FPTDatasetCheck("T", "f", 0, tuple(f"image {n}" for n in range(25)), (), (), ())
    assert "and 5 more" in str(report) and "image 20" not in str(report)
