"""What a request may hold becomes the same pixels as the file itself, and what it may not is one sentence that tells nothing of
the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from registry_toys import as_text

from monai_fpt.data import ImageOptions, ImageReadError, load_medical_image
from monai_fpt.registry.inputs import RequestLimits, opened_entry

LIMITS = RequestLimits()
GREY = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40) * 34


def write_dicom(path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Modality, dataset.PatientID = "DX", "p1"
    dataset.Rows, dataset.Columns = GREY.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = GREY.tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


FORMATS: dict[str, Callable[[Path], None]] = {
    "image.dcm": write_dicom,
    "eight.png": lambda path: Image.fromarray((GREY // 256).astype(np.uint8)).save(path),
    "sixteen.png": lambda path: Image.fromarray(GREY).save(path),
    "photo.jpg": lambda path: Image.fromarray(np.dstack([GREY // 256] * 3).astype(np.uint8)).save(path),
    "scan.tif": lambda path: Image.fromarray(GREY).save(path),
    "volume.nii": lambda path: nibabel.save(nibabel.Nifti1Image(GREY[:, :, None], np.eye(4)), path),
    "volume.nii.gz": lambda path: nibabel.save(nibabel.Nifti1Image(GREY[:, :, None], np.eye(4)), path),
    "array.npy": lambda path: np.save(path, GREY),
}


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_give_the_pixels_of_the_file(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    options = ImageOptions()
    for text in (as_text(tmp_path / name), f"data:image/any;base64,{as_text(tmp_path / name)}"):
        with opened_entry(text, LIMITS) as path:
            assert path != tmp_path / name
            assert torch.equal(load_medical_image(path, options), load_medical_image(tmp_path / name, options))


def test_bytes_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    FORMATS["eight.png"](tmp_path / "a.png")
    with opened_entry(as_text(tmp_path / "a.png"), LIMITS) as path:
        assert path.is_relative_to(tmp_path / "temporary") and path.parent.stat().st_mode & 0o077 == 0
    with pytest.raises(ImageReadError), opened_entry(as_text(tmp_path / "a.png"), LIMITS) as path:
        raise ImageReadError("x")
    assert list((tmp_path / "temporary").iterdir()) == []


def ask(entry: object, limits: RequestLimits = LIMITS) -> str:
    """The sentence that refuses an entry."""
    with pytest.raises(ImageReadError) as caught, opened_entry(entry, limits) as path:
        load_medical_image(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (None, "the image is empty"),
        (float("nan"), "the image is empty"),
        ("  ", "the image is empty"),
        ("data:image/png;base64,", "the image is empty"),
        ("not base64!", "is no base64 text"),
        ("YWJj" * 9, "cannot read image of the request: it is broken"),
        ("file:a.png", "this server takes no paths"),
    ],
)
def test_what_is_no_image_is_one_sentence(entry: object, sentence: str) -> None:
    text = ask(entry)
    assert text.startswith(sentence) or sentence in text
    assert tempfile.gettempdir() not in text and "\n" not in text


def test_an_image_over_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(b"x" * 30_000)
    limits = RequestLimits(tmp_path, max_mb=0.02)
    assert "0.0 MB, this server takes up to 0.02 MB" in ask("A" * 40_000, limits)
    assert "this server takes up to 0.02 MB" in ask("file:large.png", limits)
    assert "it is broken" in ask("A" * 20_000, limits)


def test_paths_lead_into_the_served_folder_and_never_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "served"
    (root / "sub").mkdir(parents=True)
    FORMATS["eight.png"](root / "sub" / "a.png")
    FORMATS["eight.png"](tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "inside.png").symlink_to(root / "sub" / "a.png")
    limits = RequestLimits(root)
    for name in ("sub/a.png", "./sub/../sub/a.png", "inside.png", str(root / "sub" / "a.png")):
        with opened_entry(f"file:{name}", limits) as path:
            assert path == (root / "sub" / "a.png").resolve()
    outside = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "sub", "nowhere.png", "", "a\0b", "x" * 5000)
    for name in outside:
        text = ask(f"file:{name}", limits)
        assert text.startswith("there is no file") and str(root) not in text


def test_a_broken_file_is_told_by_the_name_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x" * 200)
    text = ask("file:a.dcm", RequestLimits(tmp_path))
    assert "a.dcm" in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MONAI_FPT_SERVE_ROOT": "/nowhere/at/all"}, "which is no folder"),
        ({"MONAI_FPT_SERVE_MAX_MB": "many"}, "a number of megabytes"),
        ({"MONAI_FPT_SERVE_MAX_MB": "0"}, "above 0"),
        ({"MONAI_FPT_SERVE_MAX_MB": "nan"}, "above 0"),
    ],
)
def test_limits_that_cannot_be_stop_the_server(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RequestLimits.from_environment(environment)


def test_limits_come_from_the_environment(tmp_path: Path) -> None:
    limits = RequestLimits.from_environment({"MONAI_FPT_SERVE_ROOT": str(tmp_path), "MONAI_FPT_SERVE_MAX_MB": "1.5"})
    assert (limits.root, limits.max_bytes) == (tmp_path.resolve(), 1_500_000)
    assert (RequestLimits.from_environment({}).root, RequestLimits.from_environment({}).max_bytes) == (None, 64_000_000)


@pytest.mark.parametrize("meta", [True, False], ids=["group-0002-first", "group-0008-first"])
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_dicom_without_a_preamble_is_read_as_the_file_is(tmp_path: Path, meta: bool, implicit: bool) -> None:
    write_dicom(tmp_path / "whole.dcm")
    dataset = pydicom.dcmread(tmp_path / "whole.dcm")
    dataset.preamble = None
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    if not meta:
        del dataset.file_meta
    dataset.save_as(tmp_path / "bare.dcm", enforce_file_format=False, implicit_vr=implicit, little_endian=True)
    content = (tmp_path / "bare.dcm").read_bytes()
    assert content[:2] == (b"\x02\0" if meta else b"\x08\0") and content[128:132] != b"DICM"
    wanted = load_medical_image(tmp_path / "bare.dcm")
    assert torch.equal(wanted, load_medical_image(tmp_path / "whole.dcm"))
    with opened_entry(as_text(tmp_path / "bare.dcm"), LIMITS) as path:
        assert torch.equal(load_medical_image(path), wanted)
