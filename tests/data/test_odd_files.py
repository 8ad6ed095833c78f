"""Files that libraries read wrongly in silence: each is read rightly here, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_dicom import RAMP, write_dicom

from monai_fpt.data import ImageReadError, is_image_file, load_medical_image, read_medical_image
from monai_fpt.data.facts import ImageOptions

GREY = (np.arange(60, dtype=np.uint8) * 4).reshape(6, 10)
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_turned_tiff_lies_as_a_viewer_shows_it(tmp_path: Path, orientation: int, compression: Any, bits: int) -> None:
    stored = GREY if bits == 8 else GREY.astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, compression=compression, extratags=[(274, 3, 1, orientation, True)], metadata=None)
    image = read_medical_image(path)
    expected = UPRIGHT[orientation](GREY)
    np.testing.assert_allclose(image.pixels[0], expected / 255, atol=1e-6)
    assert (image.facts.height, image.facts.width) == expected.shape


@pytest.mark.parametrize(
    ("array", "options", "reason"),
    [
        pytest.param(GREY.astype(np.int8), {}, "signed", id="signed 8 bit"),
        pytest.param(GREY.astype(np.int16), {}, "signed", id="signed 16 bit"),
        pytest.param(GREY.astype(np.uint32), {}, "32 bits", id="32 bit"),
        pytest.param(
            np.stack([GREY] * 3).astype(np.uint16) * 257,
            {"photometric": "rgb", "planarconfig": "separate"},
            "planes of 16 bits",
            id="16-bit colour planes",
        ),
    ],
)
def test_a_tiff_that_pillow_mistakes_is_refused(tmp_path: Path, array: Any, options: Any, reason: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", array, metadata=None, **options)
    with pytest.raises(ImageReadError, match=rf"a\.tif.*{reason}.*save it as"):
        load_medical_image(tmp_path / "a.tif")


def test_an_unused_fourth_byte_of_a_bmp_is_no_transparency(tmp_path: Path) -> None:
    rgba = np.zeros((6, 10, 4), dtype=np.uint8)
    rgba[..., 0] = GREY
    Image.fromarray(rgba).save(tmp_path / "a.bmp")
    np.testing.assert_allclose(load_medical_image(tmp_path / "a.bmp")[0], GREY / 255, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_points_in_time_are_no_colours(tmp_path: Path, count: int) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 1, count), np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageReadError, match="not one volume"):
        load_medical_image(tmp_path / "a.nii")


def test_a_colour_nifti_is_colour(tmp_path: Path) -> None:
    colour = np.zeros((4, 5, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"][1, 2] = 255
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "a.nii")
    pixels = load_medical_image(tmp_path / "a.nii").numpy()
    assert pixels.shape == (3, 5, 4) and pixels[1].sum() == 1 and pixels[0].sum() == 0
    assert pixels[1, 5 - 1 - 2, 4 - 1 - 1] == 1


def test_nan_is_refused_with_windows_too(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 1), dtype=np.float32)
    array[0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageReadError, match="NaN"):
        load_medical_image(tmp_path / "a.nii", ImageOptions(windows=("lung",)))


def test_a_dicom_whose_values_lie_in_other_bits_is_refused(tmp_path: Path) -> None:
    import pydicom

    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12)
    dataset = pydicom.dcmread(path)
    dataset.HighBit = 15
    dataset.save_as(path)
    with pytest.raises(ImageReadError, match=r"High Bit \(0028,0102\) is 15 where Bits Stored"):
        load_medical_image(path)


def test_an_image_without_suffix_is_known_by_how_it_begins(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG"):
        Image.fromarray(GREY).save(tmp_path / kind.lower(), format=kind)
    Image.fromarray(GREY).save(tmp_path / "a.jpe", format="JPEG")
    assert all(is_image_file(path) for path in tmp_path.iterdir())
    np.testing.assert_allclose(load_medical_image(tmp_path / "png")[0], GREY / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 1), (1, 4, 3), (1, 3, 3)])
def test_an_array_that_may_be_two_pictures_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ImageReadError, match="not clearly that of one image"):
        load_medical_image(tmp_path / "a.npy")
