"""DICOM pixels: real files against pydicom's own functions, and made-up ones against arithmetic."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from monai_fpt.data import ImageReadError, load_medical_image
from monai_fpt.data.grey import grey_window

try:
    from pydicom import pixels as pydicom_pixels
except ImportError:  # pydicom 2.4
    from pydicom.pixel_data_handlers import util as pydicom_pixels


def write_dicom(path: Path, pixels: npt.NDArray[Any], interpretation: str = "MONOCHROME2", **tags: Any) -> Path:
    """One uncompressed file; tags overrule or add, a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    colour = interpretation in ("RGB", "YBR_FULL")
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = interpretation
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        dataset.PlanarConfiguration = 0
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.HighBit = dataset.BitsStored - 1
    data = pixels.transpose(2, 0, 1) if dataset.get("PlanarConfiguration") == 1 else pixels
    raw = np.ascontiguousarray(data).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    if pydicom.__version__ < "3":
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)
    else:
        dataset.save_as(path, enforce_file_format=True)
    return path


def lookup_table(entries: npt.NDArray[Any], first: int, bits: int) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new(0x00283006, "US", [int(value) for value in entries])
    return item


def grey(path: Path) -> npt.NDArray[np.float32]:
    loaded = load_medical_image(path)
    assert torch.equal(loaded[0], loaded[1]) and torch.equal(loaded[0], loaded[2])
    array: npt.NDArray[np.float32] = loaded[0].numpy()
    return array


RAMP = np.arange(35, dtype=np.uint16).reshape(5, 7)


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 1500, "WindowWidth": 1000}], ids=["bits stored", "window"])
def test_monochrome1_is_the_exact_complement_of_monochrome2(tmp_path: Path, tags: dict[str, Any]) -> None:
    pixels = (RAMP * 100).astype(np.uint16)
    white = grey(write_dicom(tmp_path / "1.dcm", pixels, "MONOCHROME1", BitsStored=12, **tags))
    black = grey(write_dicom(tmp_path / "2.dcm", pixels, "MONOCHROME2", BitsStored=12, **tags))
    assert black.shape == (5, 7) and np.array_equal(white, np.float32(1) - black)
    assert black[0, 0] == 0 and black[-1, -1] > black[0, 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_without_voi_unsigned_pixels_are_scaled_by_bits_stored(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    pixels = np.linspace(0, top, 35).reshape(5, 7).astype(np.uint8 if bits == 8 else np.uint16)
    loaded = grey(write_dicom(tmp_path / "a.dcm", pixels, BitsStored=bits))
    assert np.array_equal(loaded, (pixels / top).astype(np.float32))


def test_without_voi_signed_pixels_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    pixels = (RAMP.astype(np.int16) * 40) - 1024
    loaded = grey(write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=1, RescaleIntercept=-10))
    np.testing.assert_allclose(loaded, RAMP / 34, rtol=1e-6)
    flat = grey(write_dicom(tmp_path / "b.dcm", np.full((4, 4), -7, dtype=np.int16)))
    assert np.array_equal(flat, np.zeros((4, 4)))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_agrees_with_pydicom(tmp_path: Path, function: str) -> None:
    pixels = (RAMP * 100).astype(np.uint16)
    tags = {"WindowCenter": [1200, 5], "WindowWidth": [900, 9], "VOILUTFunction": function}
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, RescaleSlope=2, RescaleIntercept=-100, **tags)
    dataset = pydicom.dcmread(path)
    values = pydicom_pixels.apply_modality_lut(pixels, dataset)
    low, high = -100, 4095 * 2 - 100
    expected = (pydicom_pixels.apply_windowing(values, dataset) - low) / (high - low)
    np.testing.assert_allclose(grey(path), expected, atol=1e-6)


def test_negative_slope_turns_the_scale_round(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.uint8)
    loaded = grey(write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=-1, RescaleIntercept=255))
    np.testing.assert_allclose(loaded, 1 - pixels / 255, atol=1e-6)


def test_voi_table_of_8_bit_entries_longer_than_256_does_not_wrap(tmp_path: Path) -> None:
    table = (np.arange(4096) // 16).astype(np.uint16)
    pixels = np.array([[0, 15, 16, 2048], [3000, 4000, 4080, 4095]], dtype=np.uint16)
    voi = Sequence([lookup_table(table, 0, 8)])
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, VOILUTSequence=voi, WindowCenter=1, WindowWidth=2)
    assert np.array_equal(grey(path), ((pixels // 16) / 255).astype(np.float32))


def test_modality_table_with_negative_first_value(tmp_path: Path) -> None:
    pixels = np.array([[-3, -2, 0], [1, 5, 7]], dtype=np.int16)
    table = Sequence([lookup_table(np.array([10, 20, 30, 40, 1023]), -2, 10)])
    path = write_dicom(tmp_path / "a.dcm", pixels, ModalityLUTSequence=table)
    dataset_range = grey(path)  # signed pixels without VOI: the image's own range
    expected = np.array([[10, 10, 30], [40, 1023, 1023]])
    np.testing.assert_allclose(dataset_range, (expected - 10) / 1013, atol=1e-6)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "Window Width .* is 0"),
        ({"WindowCenter": 5, "WindowWidth": 10, "VOILUTFunction": "CUBIC"}, "'CUBIC'"),
    ],
    ids=["width", "function"],
)
def test_impossible_window_is_refused(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    with pytest.raises(ImageReadError, match=rf"a\.dcm.*{reason}.*correct or remove the window"):
        load_medical_image(path)


def test_empty_window_tags_are_no_window(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8), WindowCenter=None, WindowWidth=None)
    assert np.array_equal(grey(path), (RAMP / 255).astype(np.float32))


def test_window_of_width_one_is_a_threshold() -> None:
    assert grey_window(np.array([9.0, 9.5, 10.0]), center=10, width=1).tolist() == [0, 0, 1]


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_is_exact_in_both_planar_configurations(tmp_path: Path, colour: Any, planar: int) -> None:
    path = write_dicom(tmp_path / "a.dcm", colour, "RGB", PlanarConfiguration=planar)
    expected = torch.from_numpy((colour / 255).astype(np.float32)).permute(2, 0, 1)
    assert torch.equal(load_medical_image(path), expected)


def test_ybr_is_converted_to_rgb(tmp_path: Path) -> None:
    red = np.broadcast_to(np.array([76, 85, 255], dtype=np.uint8), (4, 6, 3)).copy()  # pure red of BT.601
    loaded = load_medical_image(write_dicom(tmp_path / "a.dcm", red, "YBR_FULL"))
    torch.testing.assert_close(loaded[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]), atol=0.01, rtol=0)


def test_file_without_suffix_is_known_by_its_magic(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "1.2.3.4", RAMP.astype(np.uint8))
    assert np.array_equal(grey(path), (RAMP / 255).astype(np.float32))


def test_multi_frame_is_refused(tmp_path: Path) -> None:
    frames = np.zeros((3, 5, 7), dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3)
    with pytest.raises(ImageReadError, match=r"3 frames, as Number of Frames \(0028,0008\) says, .*column 'frame'"):
        load_medical_image(path)


@pytest.mark.parametrize("kept", [0.3, 0.9], ids=["in the header", "in the pixels"])
def test_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept > 0.5 else 300])
    with pytest.raises(ImageReadError, match=r"a\.dcm"):
        load_medical_image(path)


def test_unknown_colour_space_and_float_pixels_are_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8), "HSV")
    with pytest.raises(ImageReadError, match=r"a\.dcm"):
        load_medical_image(path)
    dataset = pydicom.dcmread(write_dicom(tmp_path / "f.dcm", RAMP))
    del dataset.PixelData
    dataset.FloatPixelData = np.zeros(35, dtype=np.float32).tobytes()
    dataset.save_as(tmp_path / "f.dcm")
    with pytest.raises(ImageReadError, match="floating-point"):
        load_medical_image(tmp_path / "f.dcm")


def test_every_real_file_is_read_or_refused(real_data: Path) -> None:
    """Sizes as the manifest says; the two broken ones and the multi-frame one are refused."""
    refused = set()
    with (real_data / "dicom" / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            try:
                loaded = load_medical_image(real_data / "dicom" / "files" / row["file"])
            except ImageReadError:
                refused.add(row["file"])
                continue
            assert loaded.shape == (3, int(float(row["rows"])), int(float(row["cols"]))), row["file"]
            assert loaded.min() >= 0 and loaded.max() <= 1 and loaded.std() > 0.05, row["file"]
    assert refused == {"MR_truncated.dcm", "badVR.dcm", "examples_ybr_color.dcm"}


@pytest.mark.parametrize("name", ["RG3_J2KR.dcm", "MR_small.dcm", "vlut_04.dcm", "mlut_18.dcm"])
def test_real_grey_files_agree_with_pydicom(real_data: Path, name: str) -> None:
    path = real_data / "dicom" / "files" / name
    dataset = pydicom.dcmread(path)
    values = pydicom_pixels.apply_modality_lut(dataset.pixel_array, dataset)
    shown = pydicom_pixels.apply_voi_lut(values, dataset).astype(np.float64)
    if name == "mlut_18.dcm":  # no VOI and signed: the image's own range
        expected = (shown - shown.min()) / (shown.max() - shown.min())
    elif name == "vlut_04.dcm":
        expected = shown / (2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    else:
        bits, signed = dataset.BitsStored, dataset.PixelRepresentation
        expected = (shown + signed * 2 ** (bits - 1)) / (2**bits - 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 1 - expected
    np.testing.assert_allclose(grey(path), expected, atol=1e-6)


def test_truncated_jpeg2000_is_refused(real_data: Path, tmp_path: Path) -> None:
    content = (real_data / "dicom" / "files" / "RG3_J2KR.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageReadError, match=r"cut\.dcm"):
        load_medical_image(tmp_path / "cut.dcm")
