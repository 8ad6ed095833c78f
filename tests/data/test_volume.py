"""Slices of volumes and NumPy arrays, against ITK's geometry and plain arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pytest

from monai_fpt.data import ImageReadError, load_medical_image, read_medical_image
from monai_fpt.data.facts import ImageOptions

SHAPE = (4, 5, 6)  # to the patient's right, front, head: i, j, k of a RAS volume
RAS = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)


def nifti(path: Path, array: Any, affine: Any = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine), path)
    return path


def shown(path: Path, **options: Any) -> Any:
    return load_medical_image(path, ImageOptions(**options))[0].numpy()


def test_an_axial_slice_has_the_front_up_and_the_patient_s_right_at_the_left(tmp_path: Path) -> None:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[-1, -1, 2] = 255  # right-most, front-most: RAS axes grow to right, front and head
    array[0, -1, 2] = 100  # left-most, front-most
    pixels = shown(nifti(tmp_path / "a.nii.gz", array), frame=2)
    assert pixels.shape == (5, 4)
    assert pixels[0, 0] == 1 and pixels[0, -1] == np.float32(100 / 255) and (pixels > 0).sum() == 2


@pytest.mark.parametrize(
    ("plane", "frame", "expected"),
    [
        ("axial", 2, RAS[::-1, ::-1, 2].T),
        ("coronal", 1, RAS[::-1, SHAPE[1] - 2, ::-1].T),  # counted from the front
        ("sagittal", 1, RAS[SHAPE[0] - 2, ::-1, ::-1].T),  # counted from the patient's right
    ],
    ids=["axial", "coronal", "sagittal"],
)
def test_planes_are_seen_as_radiologists_see_them(tmp_path: Path, plane: str, frame: int, expected: Any) -> None:
    np.testing.assert_allclose(
        shown(nifti(tmp_path / "a.nii", RAS), plane=plane, frame=frame), expected / 255, rtol=1e-6
    )


def test_the_way_a_volume_is_stored_changes_nothing(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "ras.nii", RAS)
    turned = nibabel.Nifti1Image(RAS, np.diag([2.0, 3.0, 4.0, 1.0])).as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt("PSL")
        )
    )
    nibabel.save(turned, tmp_path / "psl.nii")
    for plane in ("axial", "coronal", "sagittal"):
        first, second = (
            read_medical_image(p, ImageOptions(plane=plane, frame=1)) for p in (plain, tmp_path / "psl.nii")
        )
        assert np.array_equal(first.pixels, second.pixels)
        assert first.facts.spacing == second.facts.spacing
    assert read_medical_image(plain, ImageOptions(frame=1)).facts.spacing == (3.0, 2.0)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii.gz"])
def test_itk_and_nibabel_show_the_same_slice(tmp_path: Path, suffix: str) -> None:
    volume = itk.image_from_array(np.ascontiguousarray(RAS.transpose(2, 1, 0)))  # ITK: k, j, i in a LPS world
    volume.SetSpacing([2.0, 3.0, 4.0])
    itk.imwrite(volume, str(tmp_path / f"a{suffix}"))
    as_itk_sees = RAS[:, :, 2].T  # i grows to the left and j to the back: rows j, columns i
    image = read_medical_image(tmp_path / f"a{suffix}", ImageOptions(frame=2))
    np.testing.assert_allclose(image.pixels[0], as_itk_sees / 255, rtol=1e-6)
    assert image.facts.spacing == (3.0, 2.0) and image.facts.frames == 6


def test_several_slices_without_a_choice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ImageReadError, match="holds 6 axial slices and none is chosen; give the data list a column 'frame'"
    ):
        load_medical_image(nifti(tmp_path / "a.nii", RAS))
    assert np.array_equal(shown(tmp_path / "a.nii", frame="middle"), shown(tmp_path / "a.nii", frame=3))


def test_one_slice_needs_no_choice(tmp_path: Path) -> None:
    assert shown(nifti(tmp_path / "a.nii", RAS[:, :, :1])).shape == (5, 4)


def test_hounsfield_units_need_windows(tmp_path: Path) -> None:
    hounsfield = np.array([[[-1024], [40]], [[240], [3071]]], dtype=np.int16)
    path = nifti(tmp_path / "ct.nii", hounsfield)
    with pytest.raises(
        ImageReadError, match=r"int16, from -1024 to 3071, whose black and white are unknown; set the reader's windows"
    ):
        load_medical_image(path)
    np.testing.assert_allclose(shown(path, windows=("soft_tissue",)), [[1, 0.5], [1, 0]], atol=1e-6)


def test_the_range_is_that_of_the_whole_volume(tmp_path: Path) -> None:
    array = np.zeros(SHAPE, dtype=np.float32)
    array[:, :, 1], array[:, :, 2] = 5, 10
    path = nifti(tmp_path / "a.nii", array)
    assert np.allclose(shown(path, scale="range", frame=1), 0.5)
    assert np.allclose(shown(path, scale="range", frame=2), 1)


def test_percentiles_cut_outliers(tmp_path: Path) -> None:
    array = np.linspace(0, 100, 1000, dtype=np.float32).reshape(10, 10, 10)
    array[0, 0, 0] = 1e6
    low, high = np.percentile(array.astype(float), (0.5, 99.5))
    expected = np.clip((array[::-1, ::-1, 4].T - low) / (high - low), 0, 1)
    np.testing.assert_allclose(
        shown(nifti(tmp_path / "a.nii", array), scale="percentile", frame=4), expected, atol=1e-6
    )


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"shape \(4, 5, 6, 2\), not one volume"):
        load_medical_image(nifti(tmp_path / "a.nii", np.zeros((4, 5, 6, 2), dtype=np.uint8)))


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 1), dtype=np.float32)
    array[0, 0] = np.nan
    with pytest.raises(ImageReadError, match="not numbers"):
        load_medical_image(nifti(tmp_path / "a.nii", array), ImageOptions(scale="range"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".npy", ".npz"])
def test_broken_volumes_are_refused_with_their_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"this is no volume\n" * 20)
    with pytest.raises(ImageReadError, match=rf"broken{suffix}.*copy or export"):
        load_medical_image(path)


GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLOUR = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(GREY, GREY / 255, id="grey"),
        pytest.param(GREY[..., None], GREY / 255, id="channel last"),
        pytest.param(GREY[None], GREY / 255, id="channel first"),
        pytest.param(GREY.astype(np.uint16) * 257, GREY / 255, id="16 bit"),
        pytest.param((GREY / 255).astype(np.float64), GREY / 255, id="floats in [0, 1]"),
        pytest.param(GREY > 9, (GREY > 9) * 1.0, id="bool"),
        pytest.param(GREY.astype(">u2") * 257, GREY / 255, id="big endian"),
    ],
)
def test_arrays_of_grey_images(tmp_path: Path, array: Any, expected: Any) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_allclose(shown(tmp_path / "a.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("array", [COLOUR, COLOUR.transpose(2, 0, 1)], ids=["channels last", "channels first"])
def test_arrays_of_colour_images(tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "a.npz", image=array)
    np.testing.assert_allclose(load_medical_image(tmp_path / "a.npz"), COLOUR.transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        pytest.param(np.zeros((3, 4, 5, 6), np.uint8), "not clearly that of one image", id="4D"),
        pytest.param(np.zeros((3, 5, 3), np.uint8), "not clearly that of one image", id="ambiguous"),
        pytest.param(np.zeros((9, 4, 5), np.uint8), "not clearly that of one image", id="volume"),
        pytest.param(np.full((4, 5), 7.0), "black and white are unknown", id="floats beyond 1"),
        pytest.param(np.full((4, 5), -7), "black and white are unknown", id="signed"),
        pytest.param(np.array([["a"]]), "not numbers", id="text"),
    ],
)
def test_arrays_without_a_clear_meaning_are_refused(tmp_path: Path, array: Any, match: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageReadError, match=match):
        load_medical_image(tmp_path / "a.npy")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "harm").touch, ())

    np.save(tmp_path / "a.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    with pytest.raises(ImageReadError, match="allow_pickle"):
        load_medical_image(tmp_path / "a.npy")
    assert not (tmp_path / "harm").exists()
