"""Pixels of PNG, JPEG, TIFF and BMP agree with what Pillow shows, and broken files are refused in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_fpt.data import ImageReadError, image_suffixes, is_image_file, load_medical_image


def shown(pixels: Any) -> torch.Tensor:
    """(H, W[, 3]) in 0..255 as the loader should give it."""
    array = np.asarray(pixels, dtype=np.float32) / np.float32(255)
    array = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_lossless_colour_is_exact_with_rows_first(tmp_path: Path, colour: Any, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(colour).save(path)
    loaded = load_medical_image(path)
    assert loaded.shape == (3, 5, 7) and loaded.dtype == torch.float32 and loaded.is_contiguous()
    assert torch.equal(loaded, shown(colour))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".jfif"])
def test_jpeg_is_what_pillow_decodes(tmp_path: Path, colour: Any, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(colour).save(path, format="JPEG")
    assert torch.equal(load_medical_image(path), shown(Image.open(path)))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_tag_is_applied_once(
    tmp_path: Path, colour: Any, orientation: int, upright: Any, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(colour).save(path, exif=exif)
    stored = colour
    if suffix == ".jpg":  # lossy: take the decoded pixels, without the tag
        Image.fromarray(colour).save(tmp_path / "plain.jpg")
        stored = np.asarray(Image.open(tmp_path / "plain.jpg"))
    assert torch.equal(load_medical_image(path), shown(upright(stored).copy()))


def test_palette_grey_and_one_bit(tmp_path: Path, colour: Any) -> None:
    palette = Image.fromarray(colour).quantize(8)
    palette.save(tmp_path / "p.png")
    assert torch.equal(load_medical_image(tmp_path / "p.png"), shown(palette.convert("RGB")))
    grey = colour[..., 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    assert torch.equal(load_medical_image(tmp_path / "l.png"), shown(grey))
    Image.fromarray(grey > 100).save(tmp_path / "1.png")
    assert torch.equal(load_medical_image(tmp_path / "1.png"), shown((grey > 100) * 255))


def test_cmyk_is_converted(tmp_path: Path, colour: Any) -> None:
    Image.fromarray(colour).convert("CMYK").save(tmp_path / "a.tif")
    assert torch.equal(load_medical_image(tmp_path / "a.tif"), shown(Image.open(tmp_path / "a.tif").convert("RGB")))


def test_opaque_alpha_changes_nothing_and_transparency_is_black(tmp_path: Path, colour: Any) -> None:
    alpha = np.full((5, 7, 1), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([colour, alpha], 2)).save(tmp_path / "opaque.png")
    assert torch.equal(load_medical_image(tmp_path / "opaque.png"), shown(colour))
    alpha[2, 3], alpha[1, 1] = 0, 51
    Image.fromarray(np.concatenate([colour, alpha], 2)).save(tmp_path / "alpha.png")
    loaded = load_medical_image(tmp_path / "alpha.png")
    assert torch.equal(loaded[:, 2, 3], torch.zeros(3))
    torch.testing.assert_close(loaded[:, 1, 1], shown(colour)[:, 1, 1] * 0.2)
    grey_alpha = np.concatenate([colour[..., :1], alpha], 2)
    Image.fromarray(grey_alpha, mode="LA").save(tmp_path / "la.png")
    torch.testing.assert_close(load_medical_image(tmp_path / "la.png"), shown(colour[..., 0]) * alpha[..., 0] / 255)


def test_transparent_palette_entry_is_black(tmp_path: Path, colour: Any) -> None:
    palette = Image.fromarray(colour).quantize(8)
    palette.save(tmp_path / "p.png", transparency=3)
    hidden = np.asarray(palette) == 3
    expected = shown(np.where(hidden[..., None], 0, np.asarray(palette.convert("RGB"))))
    assert hidden.any() and torch.equal(load_medical_image(tmp_path / "p.png"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_linear_and_not_clipped(tmp_path: Path, grey16: Any, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(grey16).save(path)
    loaded = load_medical_image(path)
    expected = torch.from_numpy((grey16.astype(np.float64) / 65535).astype(np.float32))
    assert torch.equal(loaded, expected.expand(3, -1, -1))
    twelve_bits = grey16 >> 4
    Image.fromarray(twelve_bits).save(path)
    assert load_medical_image(path).max().item() == pytest.approx(4095 / 65535)


def test_sixteen_bit_tiff_whose_zero_is_white_is_inverted(tmp_path: Path, grey16: Any) -> None:
    Image.fromarray(grey16).save(tmp_path / "white.tif")
    content = bytearray((tmp_path / "white.tif").read_bytes())
    tag = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # PhotometricInterpretation, SHORT, one value: 1
    content[tag + 8] = 0
    (tmp_path / "zero.tif").write_bytes(content)
    assert torch.equal(load_medical_image(tmp_path / "zero.tif"), 1 - load_medical_image(tmp_path / "white.tif"))


def test_float_negative_and_multi_page_images_are_refused(tmp_path: Path, colour: Any) -> None:
    Image.fromarray(colour[..., 0].astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ImageReadError, match=r"f\.tif.*floating-point.*save it as"):
        load_medical_image(tmp_path / "f.tif")
    Image.fromarray(colour[..., 0].astype(np.int32) - 200).save(tmp_path / "i.tif")
    with pytest.raises(ImageReadError, match=r"i\.tif.*samples are signed.*save it as"):
        load_medical_image(tmp_path / "i.tif")
    page = Image.fromarray(colour)
    page.save(tmp_path / "m.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ImageReadError, match=r"m\.tif.*3 pages.*save the one"):
        load_medical_image(tmp_path / "m.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".dcm"])
@pytest.mark.parametrize("content", ["empty", "text", "truncated"])
def test_broken_files_are_refused_with_name_reason_and_mend(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"broken{suffix}"
    if content == "empty":
        path.write_bytes(b"")
    elif content == "text" or suffix == ".dcm":
        path.write_bytes(b"this is no image\n" * 20)
    else:
        big = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(big).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=rf"cannot read image '.*broken\{suffix}': .+; copy or export"):
        load_medical_image(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file; check the path"):
        load_medical_image(tmp_path / "none.png")
    with pytest.raises(ImageReadError, match="folder, not a file"):
        load_medical_image(tmp_path)


def test_error_survives_a_worker_process(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError) as caught:
        load_medical_image(tmp_path / "none.png")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own bytes


def test_content_decides_and_not_the_suffix(tmp_path: Path, colour: Any) -> None:
    Image.fromarray(colour).save(tmp_path / "really_png.jpg", format="PNG")
    assert torch.equal(load_medical_image(tmp_path / "really_png.jpg"), shown(colour))
    Image.fromarray(colour).save(tmp_path / "a.gif")
    with pytest.raises(ImageReadError):
        load_medical_image(tmp_path / "a.gif")


def test_image_files_are_known_by_suffix_or_magic(tmp_path: Path) -> None:
    pictures = {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".dcm", ".dicom"}
    volumes = {".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".npy", ".npz"}
    assert pictures | volumes == set(image_suffixes())
    for name in ("A.PNG", ".hidden.png", "notes.txt", "B.NII.GZ", "labels.csv.gz"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "1.2.840.1").write_bytes(bytes(128) + b"DICM")
    found = {path.name for path in tmp_path.iterdir() if is_image_file(path)}
    assert found == {"A.PNG", "B.NII.GZ", "1.2.840.1"} and not is_image_file(tmp_path)


def test_the_first_picture_of_a_multi_picture_jpeg_is_the_photograph(tmp_path: Path, colour: Any) -> None:
    preview = Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8))
    Image.fromarray(colour).save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    opened = Image.open(tmp_path / "a.jpg")
    assert opened.format == "MPO" and torch.equal(load_medical_image(tmp_path / "a.jpg"), shown(opened))
