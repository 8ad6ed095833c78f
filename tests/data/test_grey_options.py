"""VOI policies, CT windows, frames and facts of DICOM files, against arithmetic on made-up ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
import torch
from pydicom.sequence import Sequence
from test_dicom import RAMP, grey, write_dicom

from monai_fpt.data import ImageReadError, load_medical_image, read_medical_image
from monai_fpt.data.facts import ImageOptions


def shown(path: Path, **options: Any) -> Any:
    return load_medical_image(path, ImageOptions(**options))[0].numpy()


def test_the_sigmoid_of_cmmd_does_not_lift_black(tmp_path: Path) -> None:
    pixels = np.array([[0, 64], [128, 255]], dtype=np.uint8)
    tags = {"WindowCenter": 128, "WindowWidth": 256, "VOILUTFunction": "SIGMOID"}
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)
    assert np.array_equal(grey(path), (pixels / 255).astype(np.float32))
    lifted = shown(path, voi="always")
    np.testing.assert_allclose(lifted, 1 / (1 + np.exp(-4 * (pixels - 128.0) / 256)), rtol=1e-6)
    assert lifted[0, 0] == pytest.approx(30.4 / 255, abs=1e-3)


def test_the_two_16_bit_files_of_cmmd_are_on_the_scale_of_the_8_bit_ones(tmp_path: Path) -> None:
    pixels = np.array([[0, 64], [128, 255]], dtype=np.uint8)
    deep = write_dicom(
        tmp_path / "a.dcm",
        pixels.astype(np.uint16) * 257,
        WindowCenter=32768,
        WindowWidth=65536,
        VOILUTFunction="SIGMOID",
    )
    assert np.array_equal(grey(deep), (pixels / 255).astype(np.float32))


@pytest.mark.parametrize("voi", ["auto", "always"])
def test_a_window_of_part_of_the_range_is_applied(tmp_path: Path, voi: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, WindowCenter=17.5, WindowWidth=11)
    np.testing.assert_allclose(shown(path, voi=voi), np.clip((RAMP - 12.0) / 10, 0, 1), atol=1e-6)


def test_never_leaves_the_window_out(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, WindowCenter=17.5, WindowWidth=11)
    np.testing.assert_allclose(shown(path, voi="never"), RAMP / 4095, rtol=1e-6)


@pytest.mark.parametrize("voi", ["auto", "always", "never"])
def test_monochrome1_is_inverted_after_the_voi_whatever_its_policy(tmp_path: Path, voi: str) -> None:
    tags = {"BitsStored": 12, "WindowCenter": 17.5, "WindowWidth": 11}
    dark = shown(write_dicom(tmp_path / "2.dcm", RAMP, "MONOCHROME2", **tags), voi=voi)
    bright = shown(write_dicom(tmp_path / "1.dcm", RAMP, "MONOCHROME1", **tags), voi=voi)
    assert np.array_equal(bright, np.float32(1) - dark) and dark.min() < dark.max()


def ct(path: Path, hounsfield: Any, **tags: Any) -> Path:
    stored = (np.asarray(hounsfield) + 1024).astype(np.uint16)
    return write_dicom(path, stored, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, **tags)


def test_ct_is_on_one_scale_whatever_windows_the_files_name(tmp_path: Path) -> None:
    hounsfield = np.array([[-1024, -1000], [40, 3071]])
    wide = shown(ct(tmp_path / "a.dcm", hounsfield, WindowCenter=-600, WindowWidth=1500))
    narrow = shown(ct(tmp_path / "b.dcm", hounsfield, WindowCenter=40, WindowWidth=80))
    assert np.array_equal(wide, narrow)
    np.testing.assert_allclose(wide, (hounsfield + 1024) / 4095, atol=1e-6)


def test_three_ct_windows_are_three_channels(tmp_path: Path) -> None:
    hounsfield = np.array([[-1024, -600, 0, 40, 400, 3071]])
    path = ct(tmp_path / "a.dcm", hounsfield)
    image = load_medical_image(path, ImageOptions(windows=("lung", [40, 400], "bone")))
    expected = [np.clip((hounsfield - c) / w + 0.5, 0, 1) for c, w in ((-600, 1500), (40, 400), (400, 1800))]
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)


def test_ct_windows_leave_other_modalities_alone(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, Modality="DX", BitsStored=12)
    assert np.array_equal(shown(path, windows=("lung",)), grey(path))


def test_ct_without_hounsfield_units_is_refused_where_windows_are_asked_for(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, Modality="CT")
    with pytest.raises(ImageReadError, match=r"without Rescale Intercept \(0028,1052\).*leave it out"):
        load_medical_image(path, ImageOptions(windows=("lung",)))


def test_a_frame_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    frames = np.stack([np.full((5, 7), value, dtype=np.uint8) for value in (10, 20, 30)])
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3)
    for frame, value in ((0, 10), (2, 30), (-1, 30), ("middle", 20)):
        image = read_medical_image(path, ImageOptions(frame=frame))
        assert np.allclose(image.pixels, value / 255) and image.facts.frames == 3
    assert image.facts.frame == 1
    with pytest.raises(ImageReadError, match="frame 3 is asked for and it holds 3"):
        load_medical_image(path, ImageOptions(frame=3))


def test_a_frame_of_an_enhanced_file_has_its_own_rescale_and_window(tmp_path: Path) -> None:
    def group(slope: float, center: float) -> pydicom.Dataset:
        item, rescale, window = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0
        window.WindowCenter, window.WindowWidth = center, 11
        item.PixelValueTransformationSequence, item.FrameVOILUTSequence = Sequence([rescale]), Sequence([window])
        return item

    frames = np.stack([RAMP, RAMP])
    groups = Sequence([group(1, 17.5), group(2, 35.5)])
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=groups)
    np.testing.assert_allclose(shown(path, frame=0), np.clip((RAMP - 12.0) / 10, 0, 1), atol=1e-6)
    np.testing.assert_allclose(shown(path, frame=1), np.clip((2.0 * RAMP - 30.0) / 10, 0, 1), atol=1e-6)


def test_facts_are_kept(tmp_path: Path) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399368009", "SCT", "medio-lateral oblique"
    tags = {
        "Modality": "MG",
        "ImageLaterality": "R",
        "ViewCodeSequence": Sequence([code]),
        "PatientID": "D1-0001",
        "ImagerPixelSpacing": [0.1, 0.2],
        "Manufacturer": "GE",
        "ManufacturerModelName": "Senographe",
        "BitsStored": 12,
    }
    facts = read_medical_image(write_dicom(tmp_path / "a.dcm", RAMP, **tags)).facts
    assert (facts.format, facts.modality, facts.laterality, facts.view) == ("DICOM", "MG", "R", "MLO")
    assert (facts.patient_key, facts.spacing, facts.bits) == ("D1-0001", (0.1, 0.2), 12)
    assert (facts.photometric, facts.device, facts.height, facts.width) == ("MONOCHROME2", "GE Senographe", 5, 7)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"voi": "maybe"}, "voi is 'maybe'; choose one of"),
        ({"windows": ("lung", "bone")}, "2 windows are given; give one, or three"),
        ({"windows": ("luna",)}, "CT window 'luna' is unknown; choose one of full, lung"),
        ({"windows": ([40, 0],)}, "width above 0"),
        ({"frame": "last"}, "frame is 'last'"),
        ({"min_size": 0}, "min_size is 0"),
        ({"scale": "log"}, "scale is 'log'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ImageOptions(**options)


def test_a_palette_that_pydicom_would_wrap_around_is_refused(tmp_path: Path) -> None:
    tags: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [512, 0, 8]
        tags[f"{colour}PaletteColorLookupTableData"] = bytes(range(256)) * 2
    path = write_dicom(tmp_path / "a.dcm", RAMP, "PALETTE COLOR", **tags)
    with pytest.raises(ImageReadError, match="palette has 512 entries of 8 bits"):
        load_medical_image(path)


def test_pixels_do_not_depend_on_which_optional_decoders_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each compressed syntax names its decoder: whatever else pydicom finds is not asked."""
    pixels = pytest.importorskip("pydicom.pixels", reason="of pydicom 3")
    get_decoder = pixels.get_decoder
    from monai_fpt.data.dicom import DICOM_DECODERS

    folder = Path(pydicom.data.__file__).parent / "test_files"
    paths = {path.name: path for path in folder.rglob("*.dcm")}
    asked: list[str] = []
    original = type(get_decoder(pydicom.uid.JPEGBaseline8Bit)).as_array

    def as_array(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["decoding_plugin"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(get_decoder(pydicom.uid.JPEGBaseline8Bit)), "as_array", as_array)
    for name in ("SC_rgb_jpeg.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        assert isinstance(load_medical_image(paths[name]), torch.Tensor)
    assert asked == ["pylibjpeg", "pylibjpeg", "pydicom", "pylibjpeg"]
    assert set(DICOM_DECODERS.values()) == {"pylibjpeg", "pydicom"}
