"""Through MONAI's loaders come the very same pixels, and no other reader ever steps in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged
from PIL import Image

from monai_fpt.data import FPTImageReader, ImageReadError, load_medical_image


@pytest.fixture
def picture(tmp_path: Path, colour: Any) -> Path:
    Image.fromarray(colour).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    "reader",
    [FPTImageReader, FPTImageReader(), "monai_fpt.data.FPTImageReader", "monai_fpt.data.reader.FPTImageReader"],
    ids=["class", "instance", "short path", "full path"],
)
def test_load_image_gives_our_pixels(picture: Path, reader: Any) -> None:
    loaded = LoadImage(reader=reader, image_only=True)(picture)
    assert isinstance(loaded, MetaTensor) and loaded.meta["filename_or_obj"] == str(picture)
    assert torch.equal(loaded.as_tensor(), load_medical_image(picture))


def test_ensure_channel_first_changes_nothing(picture: Path) -> None:
    load = Compose([LoadImaged("image", reader=FPTImageReader()), EnsureChannelFirstd("image")])
    assert torch.equal(load({"image": str(picture)})["image"].as_tensor(), load_medical_image(picture))
    inside = LoadImage(reader=FPTImageReader, ensure_channel_first=True)(picture)
    assert torch.equal(inside.as_tensor(), load_medical_image(picture))


def test_no_other_reader_steps_in_where_ours_refuses(tmp_path: Path, colour: Any) -> None:
    page = Image.fromarray(colour)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])  # which Pillow's reader would read
    for load in (LoadImage(reader=FPTImageReader), LoadImage(reader="monai_fpt.data.FPTImageReader")):
        with pytest.raises(ImageReadError, match="2 pages"):
            load(tmp_path / "pages.tif")
    with pytest.raises(ValueError, match="one file an image, got 2"):
        LoadImage(reader=FPTImageReader)([tmp_path / "pages.tif", tmp_path / "pages.tif"])


def test_suffixes_are_verified(picture: Path) -> None:
    assert FPTImageReader().verify_suffix([picture]) and not FPTImageReader().verify_suffix("a.nii.gz")
    with pytest.raises(TypeError, match="no option"):
        FPTImageReader().read(picture, swap_ij=False)
