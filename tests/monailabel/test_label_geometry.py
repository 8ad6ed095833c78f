"""A map lies where it was seen: read back with ITK, another library than the one that wrote, against the image itself.

The proof needs no knowledge of the way: the heat given is where the *network's square* is bright, and what is written must then
lie on the pixels that ITK, which knows nothing of our reader, finds bright in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from label_toys import tiny_run, write_dicom
from PIL import Image

sitk = pytest.importorskip("SimpleITK", reason="needs MONAI Label's own environment, see docs/monailabel.md")
itk = pytest.importorskip("itk")

from monai_fpt.monailabel.geometry import file_geometry, heat_on_file, write_label_map  # noqa: E402
from monai_fpt.registry import FPTPredictor  # noqa: E402

SPOT = (slice(60, 90), slice(20, 50))  # of an upright picture of 200 rows and 100 columns
CROP = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": "image", "roi_size": [160, 90]}
MIRROR = {"_target_": "monai_fpt.transforms.FPTLateralityFlipd", "keys": "image", "unknown": "bright_side"}
FLIP = {"_target_": "monai.transforms.Flipd", "keys": "image", "spatial_axis": 1}
PAD = {"_target_": "monai_fpt.transforms.FPTResizePadd", "keys": "image", "size": 64}
DIM = {"_target_": "monai.transforms.AdjustContrastd", "keys": "image", "gamma": 1.5}
TURN = {"_target_": "monai.transforms.Rotate90d", "keys": "image"}
LOST = {"_target_": "monai.transforms.SavitzkyGolaySmoothd", "keys": "image", "window_length": 5, "order": 1}


def upright() -> npt.NDArray[np.uint8]:
    pixels = np.full((200, 100), 30, dtype=np.uint8)
    pixels[SPOT] = 220
    return pixels


def brightness(predictor: FPTPredictor, path: Path) -> torch.Tensor:
    """(rows, columns): where the square that the network reads is bright."""
    square = predictor.prepare(path)[0]
    tokens = torch.nn.functional.avg_pool2d(square[None, None], 4)[0, 0]
    return ((tokens - tokens.min()) / (tokens.max() - tokens.min())).clamp(0, 1)


def itk_pixels(path: Path) -> npt.NDArray[np.float64]:
    """Grey pixels as ITK alone reads them; slices first where there are any."""
    pixels = np.asarray(itk.array_from_image(itk.imread(str(path))), dtype=np.float64)
    return pixels.mean(axis=-1) if pixels.shape[-1] == 3 else pixels


def written(path: Path, run: Path, target: Path) -> Any:
    """The label map of the brightness of a file."""
    predictor = FPTPredictor.from_folder(run)
    heat, frame = heat_on_file(brightness(predictor, path), path, predictor.card)
    write_label_map((heat >= 0.5).astype(np.uint8), file_geometry(path), target, frame)
    return itk.imread(str(target))


def overlap(mask: npt.NDArray[Any], bright: npt.NDArray[Any]) -> float:
    """Intersection over union."""
    return float((mask & bright).sum() / (mask | bright).sum())


def with_exif(path: Path, orientation: int) -> Path:
    """A JPEG whose upright picture is ours and whose stored pixels are turned as the orientation says."""
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turns |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 5: Image.Transpose.TRANSPOSE, 7: Image.Transpose.TRANSVERSE}
    image = Image.fromarray(upright()).convert("RGB")
    stored = image if turns[orientation] is None else image.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif, quality=95, dpi=(254, 127))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_on_a_jpeg_that_is_not_square_the_map_lies_on_what_itk_finds_bright(
    suffix: str, toy_model: Path, tmp_path: Path
) -> None:
    path = with_exif(tmp_path / "a.jpg", 1)
    found = written(path, toy_model, tmp_path / f"map{suffix}")

    assert list(found.GetLargestPossibleRegion().GetSize()) == [100, 200, 1]
    mask = np.asarray(itk.array_from_image(found))[0] > 0
    assert overlap(mask, itk_pixels(path) > 128) > 0.75
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 74.5) < 3 and abs(columns.mean() - 34.5) < 3  # the centre of SPOT, told by hand


def test_spacing_of_a_jpeg_is_that_which_itk_reads(toy_model: Path, tmp_path: Path) -> None:
    path = with_exif(tmp_path / "a.jpg", 1)
    image, found = itk.imread(str(path)), written(path, toy_model, tmp_path / "map.nrrd")

    assert list(found.GetSpacing())[:2] == pytest.approx(list(image.GetSpacing()))
    assert list(found.GetOrigin())[:2] == pytest.approx(list(image.GetOrigin()))


@pytest.mark.parametrize("orientation", [2, 3, 5, 6, 7, 8])
def test_on_a_photograph_that_is_stored_turned_the_map_lies_on_the_stored_pixels(
    orientation: int, toy_model: Path, tmp_path: Path
) -> None:
    path = with_exif(tmp_path / "a.jpg", orientation)
    found = written(path, toy_model, tmp_path / "map.nrrd")

    bright = itk_pixels(path) > 128
    mask = np.asarray(itk.array_from_image(found))[0] > 0
    assert mask.shape == bright.shape
    assert overlap(mask, bright) > 0.75


@pytest.mark.parametrize(
    "preparing",
    [[CROP], [MIRROR], [FLIP], [TURN], [PAD], [CROP, FLIP, TURN, PAD, DIM]],
    ids=["crop", "laterality", "flip", "turn", "pad", "all"],
)
def test_the_way_back_leads_through_the_models_preparation(preparing: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(upright()).save(path)
    run = tiny_run(tmp_path / "run", preparing=preparing)
    found = written(path, run, tmp_path / "map.nrrd")

    assert overlap(np.asarray(itk.array_from_image(found))[0] > 0, itk_pixels(path) > 128) > 0.7


def test_a_preparation_without_a_way_back_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(upright()).save(path)
    predictor = FPTPredictor.from_folder(tiny_run(tmp_path / "run", preparing=[LOST]))

    with pytest.raises(ValueError, match="SavitzkyGolaySmoothd, which may move pixels"):
        heat_on_file(torch.ones(4, 4), path, predictor.card)


ORIENTED = {
    "PixelSpacing": [0.5, 0.25],
    "ImagePositionPatient": [10.0, -20.0, 30.0],
    "ImageOrientationPatient": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],  # sagittal: columns run back, rows run down
    "SliceThickness": 3.0,
    "Modality": "MR",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
}


def test_on_a_dicom_file_the_map_has_its_spacing_origin_and_orientation(toy_model: Path, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", upright().astype(np.uint16) * 16, **ORIENTED)
    image, found = itk.imread(str(path)), written(path, toy_model, tmp_path / "map.nrrd")

    assert list(found.GetSpacing())[:2] == pytest.approx([0.25, 0.5])  # columns first, as ITK counts
    assert list(found.GetOrigin()) == pytest.approx([10.0, -20.0, 30.0])
    for corner in ([0, 0, 0], [99, 0, 0], [0, 199, 0]):
        assert list(found.TransformIndexToPhysicalPoint(corner)) == pytest.approx(
            list(image.TransformIndexToPhysicalPoint(corner))
        )
    assert overlap(np.asarray(itk.array_from_image(found))[0] > 0, itk_pixels(path)[0] > 128 * 16) > 0.75


def test_on_an_inverted_dicom_file_the_map_lies_on_what_the_eye_sees_bright(toy_model: Path, tmp_path: Path) -> None:
    stored = (255 - upright()).astype(np.uint16) * 16
    path = write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", Modality="DX")
    found = written(path, toy_model, tmp_path / "map.nrrd")

    pixels = itk_pixels(path)[0]
    part = pixels > (pixels.min() + pixels.max()) / 2
    bright = (
        part if part.mean() < 0.5 else ~part
    )  # a library may show MONOCHROME1 either way; the spot is the smaller part
    assert overlap(np.asarray(itk.array_from_image(found))[0] > 0, bright) > 0.75


def test_a_map_of_another_size_than_the_file_is_not_written(tmp_path: Path) -> None:
    path = with_exif(tmp_path / "a.jpg", 1)

    with pytest.raises(ValueError, match="does not fit"):
        write_label_map(np.zeros((100, 200), dtype=np.uint8), file_geometry(path), tmp_path / "map.nrrd")
    assert not (tmp_path / "map.nrrd").exists()


def test_a_png_label_map_has_the_files_rows_and_columns(toy_model: Path, tmp_path: Path) -> None:
    path = with_exif(tmp_path / "a.jpg", 1)
    found = written(path, toy_model, tmp_path / "map.png")

    assert list(found.GetLargestPossibleRegion().GetSize()) == [100, 200]


def test_real_dicom_files_keep_their_geometry(real_dicom: Path) -> None:
    image, geometry = itk.imread(str(real_dicom)), file_geometry(real_dicom)

    assert list(geometry.size)[:2] == list(image.GetLargestPossibleRegion().GetSize())[:2]
    assert list(geometry.spacing)[:2] == pytest.approx(list(image.GetSpacing())[:2])
    assert list(geometry.origin)[:2] == pytest.approx(list(image.GetOrigin())[:2])


@pytest.fixture(params=["CT_small.dcm", "MR_small.dcm"])
def real_dicom(request: pytest.FixtureRequest) -> Path:
    import os

    folder = os.environ.get("MONAI_FPT_TEST_DATA")
    if not folder:
        pytest.skip("needs real images: set MONAI_FPT_TEST_DATA to the folder that contains dicom/ and others")
    return Path(folder) / "dicom" / "files" / request.param
