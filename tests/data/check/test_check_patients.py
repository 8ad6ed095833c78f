"""DICOM patients are looked at where the list has none, with care."""

from __future__ import annotations

from check_toys import checked

from monai_fpt.data.check.finding import CheckedImage
from monai_fpt.data.check.patients import find_torn_patients, find_unknown_patients


def dicom_images(patients: list[str]) -> list[CheckedImage]:
    """One image a patient key, in turn for training and test, without a group in the list."""
    sections = ("training", "test")
    return [checked(n, 0, group="", patient_key=patient, section=sections[n % 2]) for n, patient in enumerate(patients)]


def test_a_dicom_patient_in_two_sections_is_a_warning_without_his_name() -> None:
    images = dicom_images(["Doe^Jane", "Doe^Jane", *(f"p{n}" for n in range(20))])
    (found,) = find_torn_patients(images, ["a"])

    assert (found.severity, found.check) == ("warning", "dicom_patients_across_sections")
    assert set(found.keys) == {"0.png", "1.png"}
    assert "Doe" not in f"{found} {found.to_dict()}"
    assert found.to_dict(show_patients=True)["patients"] == ["Doe^Jane"]


def test_an_id_that_many_images_share_is_no_patient() -> None:
    assert find_torn_patients(dicom_images(["anonymous"] * 12 + [f"p{n}" for n in range(8)]), ["a"]) == []


def test_the_group_of_the_list_goes_before_the_dicom_patient() -> None:
    images = [checked(n, 0, patient_key="same", section=("training", "test")[n % 2]) for n in range(2)]

    assert find_torn_patients([*images, *(checked(n, 0) for n in range(2, 20))], ["a"]) == []


def test_the_images_that_tell_come_first() -> None:
    images = [checked(n, 0, group="p") for n in range(9)] + [checked(9, 1, group="p", section="test")]
    torn, mixed = find_torn_patients(images, ["a", "b"])

    assert torn.keys[:2] == mixed.keys[:2] == ("0.png", "9.png")


def test_known_patients_are_not_noted() -> None:
    assert find_unknown_patients([checked(1, 0), checked(2, 1)]) == []
