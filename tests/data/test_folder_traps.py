"""Folders that would drop, multiply or tear apart images in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_dicom import RAMP, write_dicom

from monai_fpt.data import FPTDataList, data_list_from_folders, data_list_from_table


def png(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


def items(made: FPTDataList) -> list[str]:
    return [item["key"] for s in ("training", "validation", "test") for item in made.section(s)]


def test_images_of_other_kinds_are_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for n in range(5):
            png(tmp_path / name / f"{n}.png")
    (tmp_path / "b" / "5.webp").write_bytes(b"x")
    (tmp_path / "b" / "6.gif").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"unsupported kinds .* are left out \(1 \.gif, 1 \.webp\)"):
        made = data_list_from_folders(tmp_path)
    assert len(items(made)) == 10


def test_a_loop_of_links_multiplies_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for n in range(5):
            png(tmp_path / name / f"{n}.png")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert len(items(data_list_from_folders(tmp_path))) == 10


def test_a_folder_beside_the_sections_is_said(tmp_path: Path) -> None:
    for section in ("train", "val", "test", "external"):
        for name in ("a", "b"):
            png(tmp_path / section / name / "0.png")
    with pytest.warns(UserWarning, match=r"folders \['external'\] beside the sections"):
        data_list_from_folders(tmp_path)


def dicoms(root: Path, sections: tuple[str, ...], same: bool = False) -> None:
    for n in range(40):
        path = root / sections[n % len(sections)] / ("a", "b")[n // 20] / f"{n}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, RAMP, PatientID="anonymous" if same else f"p{n // 4}")


def homes(made: FPTDataList) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for section in ("training", "validation", "test"):
        for item in made.section(section):
            found.setdefault(item.get("group", item["key"]), set()).add(section)
    return found


def test_dicom_files_in_class_folders_are_split_by_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dicoms(tmp_path, (".",))
    found = homes(data_list_from_folders(tmp_path))
    assert len(found) == 10 and all(len(sections) == 1 for sections in found.values())
    said = capsys.readouterr().out
    assert "10, by the Patient ID (0010,0020) of 40 DICOM files" in said and "p3" not in said


def test_a_patient_in_two_section_folders_is_refused(tmp_path: Path) -> None:
    dicoms(tmp_path, ("train", "val", "test"))
    with pytest.raises(ValueError, match="Patient IDs of DICOM files occur in more than one split"):
        data_list_from_folders(tmp_path)
    assert data_list_from_folders(tmp_path, allow_group_leakage=True).test


def test_one_id_of_an_anonymiser_is_no_patient(tmp_path: Path) -> None:
    dicoms(tmp_path, (".",), same=True)
    assert len(homes(data_list_from_folders(tmp_path))) == 40


def test_a_table_of_dicom_files_without_patients_is_split_by_them(tmp_path: Path) -> None:
    dicoms(tmp_path, (".",))
    rows = [f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}" for path in sorted(tmp_path.rglob("*.dcm"))]
    (tmp_path / "labels.csv").write_text("image,label\n" + "\n".join(rows))
    found = homes(data_list_from_table(tmp_path / "labels.csv"))
    assert len(found) == 10 and all(len(sections) == 1 for sections in found.values())
