"""What holds for every pair: array and dictionary agree, kinds and metadata are kept, descriptions are stable, and all of
it goes through the reader, pickling and data loader workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, LoadImaged
from PIL import Image
from transform_phantoms import breast_phantom, fundus_phantom, with_meta

import monai_fpt.transforms as room
from monai_fpt.data import load_medical_image
from monai_fpt.transforms import fpt_describe

PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[], torch.Tensor]]] = {
    # settings, other settings, a picture it changes
    "FPTBenGraham": ({}, {"weight": 3.0}, fundus_phantom),
    "FPTBreastCrop": ({}, {"margin": 0.1}, breast_phantom),
    "FPTCircleMask": ({}, {"fill": 0.5}, fundus_phantom),
    "FPTClahe": ({}, {"tiles": 4}, fundus_phantom),
    "FPTFundusCrop": ({}, {"threshold": 0.1}, lambda: fundus_phantom(radius=30)),
    "FPTGreyToRGB": ({}, {}, lambda: breast_phantom()[:1]),
    "FPTLateralityFlip": ({"unknown": "bright_side"}, {"unknown": "error"}, lambda: breast_phantom().flip(2)),
    "FPTPercentileScale": ({}, {"lower": 2.0}, fundus_phantom),
    "FPTResizePad": ({"size": 32}, {"size": None}, fundus_phantom),
    "FPTShadesOfGray": ({}, {"power": 3.0}, fundus_phantom),
    "FPTWindow": ({"windows": ["lung", "bone"]}, {"windows": ["lung"]}, lambda: breast_phantom()[:1] * 2000 - 1000),
}
pairs = pytest.mark.parametrize("name", PAIRS)


def array_of(name: str) -> Any:
    return getattr(room, name)(**PAIRS[name][0])


def dictionary_of(name: str, keys: Any = "image", **more: Any) -> Any:
    return getattr(room, f"{name}d")(keys, **PAIRS[name][0], **more)


def same(one: Any, other: Any) -> bool:
    return torch.equal(torch.as_tensor(np.asarray(one)), torch.as_tensor(np.asarray(other)))


def test_every_pair_of_the_room_is_tested_here_or_in_test_transforms() -> None:
    arrays = {name for name in room.__all__ if name.startswith("FPT") and f"{name}d" in room.__all__}
    assert arrays == set(PAIRS) | {"FPTResize", "FPTNormalize"}


@pairs
def test_the_dictionary_does_as_the_array_to_every_key_and_passes_the_rest_on(name: str) -> None:
    image = PAIRS[name][2]()
    expected = array_of(name)(image)
    given = {"image": image, "twin": image.clone(), "label": 1}
    done = dictionary_of(name, ["image", "twin"])(given)
    assert same(done["image"], expected) and same(done["twin"], expected) and done["label"] == 1
    assert not (expected.shape == image.shape and same(expected, image))  # the transform did something
    assert given["image"] is image and same(image, PAIRS[name][2]())  # and left its input alone
    assert getattr(room, f"{name}D") is getattr(room, f"{name}Dict") is getattr(room, f"{name}d")


@pairs
def test_kind_metadata_and_values_in_are_kind_metadata_and_values_out(name: str) -> None:
    image = PAIRS[name][2]()
    plain, array, meta = (array_of(name)(each) for each in (image, image.numpy(), with_meta(image)))
    assert type(plain) is torch.Tensor and type(array) is np.ndarray and isinstance(meta, MetaTensor)
    assert same(plain, array) and same(plain, meta.as_tensor())
    assert plain.dtype == meta.dtype == torch.float32 and array.dtype == np.float32
    assert meta.meta["filename_or_obj"] == "a.png" and not torch.isnan(plain).any()
    assert float(plain.min()) >= 0 and float(plain.max()) <= 1


@pairs
def test_missing_keys_are_an_error_unless_allowed(name: str) -> None:
    item = {"image": PAIRS[name][2]()}
    with pytest.raises(KeyError, match="gone"):
        dictionary_of(name, ["image", "gone"])(item)
    assert set(dictionary_of(name, ["image", "gone"], allow_missing_keys=True)(item)) == {"image"}


@pairs
def test_descriptions_are_equal_for_equal_settings_before_and_after_use(name: str) -> None:
    first, second = dictionary_of(name), dictionary_of(name)
    text = fpt_describe(first)
    first({"image": with_meta(PAIRS[name][2]())})
    assert fpt_describe(first) == fpt_describe(second) == text and "0x" not in text and name in text
    assert fpt_describe(pickle.loads(pickle.dumps(first))) == text  # noqa: S301 - our own bytes
    others = PAIRS[name][1]
    if others:
        changed = getattr(room, f"{name}d")("image", **PAIRS[name][0] | others)
        assert fpt_describe(changed) != text


@pytest.mark.parametrize("name", ["FPTBreastCrop", "FPTFundusCrop", "FPTLateralityFlip", "FPTResizePad"])
def test_workers_give_the_same_images_and_the_trace_is_undone_here(name: str) -> None:
    image = PAIRS[name][2]()
    chain = Compose([dictionary_of(name)])
    item = {"image": with_meta(image)}
    loader = DataLoader(Dataset([item] * 2, chain), batch_size=2, num_workers=1)
    (batch,) = loader
    expected = array_of(name)(image)
    assert torch.equal(batch["image"].as_tensor(), torch.stack([expected, expected]))
    back = chain.inverse(decollate_batch(batch)[1])["image"]
    assert back.shape == image.shape and torch.equal(back.as_tensor(), chain.inverse(chain(item))["image"].as_tensor())


def test_the_reader_s_images_go_through_the_whole_chain(tmp_path: Path) -> None:
    picture = (fundus_phantom(radius=30).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    chain = Compose(
        [
            LoadImaged("image", reader="monai_fpt.data.FPTImageReader"),
            room.FPTFundusCropd("image"),
            room.FPTCircleMaskd("image"),
            room.FPTResizePadd("image", 32),
            room.FPTResized("image", 24),
        ]
    )
    done = chain({"image": str(tmp_path / "a.png")})["image"]
    loaded = load_medical_image(tmp_path / "a.png")
    by_hand = room.FPTResize(24)(room.FPTResizePad(32)(room.FPTCircleMask()(loaded[:, 15:75, 33:92])))
    assert done.shape == (3, 24, 24) and torch.equal(done.as_tensor(), by_hand)
    assert done.meta["filename_or_obj"] == str(tmp_path / "a.png")
