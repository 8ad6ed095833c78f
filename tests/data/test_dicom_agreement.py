"""Our pixels beside highdicom's on every DICOM file of pydicom and pydicom-data (benchmarks/dicom_agreement.py)."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("highdicom", reason="needs highdicom, of the dev extra, and pydicom 3", exc_type=ImportError)

from benchmarks.dicom_agreement import Agreement, compare, dicom_files

REASONS = ("holds no Pixel Data", "lacks what says", "is broken, truncated or not of a supported format")
# Big-endian colour and segmented palettes that neither highdicom nor ITK reads; their little-endian twins are compared below.
WITHOUT_SECOND_SOURCE = {
    "SC_rgb_expb_16bit.dcm",
    "SC_rgb_expb_32bit.dcm",
    "gdcm-US-ALOKA-16.dcm",
    "gdcm-US-ALOKA-16_big.dcm",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, Agreement]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {row.file: row for row in map(compare, dicom_files([]))}


def test_no_file_differs_from_both_sources(rows: dict[str, Agreement]) -> None:
    assert len(rows) >= 70
    assert [row for row in rows.values() if row.verdict == "differs"] == []


def test_what_is_refused_has_a_named_reason(rows: dict[str, Agreement]) -> None:
    refused = [row for row in rows.values() if row.verdict == "refused"]
    assert refused and all(any(reason in row.detail for reason in REASONS) for row in refused)
    assert not any("Traceback" in row.detail for row in refused)


def test_most_files_are_compared_and_the_rest_is_known(rows: dict[str, Agreement]) -> None:
    single = {row.file for row in rows.values() if row.verdict == "no second source" and row.frames == 1}
    assert single <= WITHOUT_SECOND_SOURCE
    assert sum(row.verdict.startswith("equal") for row in rows.values()) >= 0.7 * len(rows)


@pytest.mark.parametrize(
    ("little", "big"),
    [
        ("MR_small.dcm", "MR_small_bigendian.dcm"),
        (
            "OBXXXX1A.dcm",
            "OBXXXX1A_expb.dcm",
        ),  # pydicom's palette look-up takes big-endian tables for little-endian ones
        ("gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"),
        ("SC_rgb_16bit.dcm", "SC_rgb_expb_16bit.dcm"),
        ("SC_rgb_32bit.dcm", "SC_rgb_expb_32bit.dcm"),
        ("liver_1frame.dcm", "liver_expb_1frame.dcm"),
    ],
)
def test_byte_order_changes_no_pixel(little: str, big: str) -> None:
    import torch

    from monai_fpt.data import load_medical_image

    paths = {path.name: path for path in dicom_files([])}
    if little not in paths or big not in paths:
        pytest.skip("needs pydicom-data, of the dev extra")
    assert torch.equal(load_medical_image(paths[little]), load_medical_image(paths[big]))
