"""The presets by modality: plain JSON whose transforms can be made and carried by a model's card."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.transforms import Compose
from transform_phantoms import breast_phantom, fundus_phantom, with_meta

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.data import FPTImageReader
from monai_fpt.transforms import RandFPTSideAugment, fpt_transforms

MODALITIES = ["fundus", "dermoscopy", "mammography", "cxr", "ct"]
CHANCES = ("flip_prob", "vertical_flip_prob", "rotate_prob")


def preset(name: str) -> dict[str, Any]:
    text = (fpt_bundle_root() / "configs" / "presets" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("name", MODALITIES)
def test_a_preset_says_what_it_is_and_sets_known_ids(name: str) -> None:
    settings = preset(name)
    assert len(settings.pop("_preset_")) > 60
    assert set(settings) - {"+reader"} == {"preparing", *CHANCES}  # + adds to the bundle's reader
    RandFPTSideAugment(128, **{chance: settings[chance] for chance in CHANCES})
    FPTImageReader(**settings.get("+reader", {}))
    fpt_transforms(settings["preparing"])


@pytest.mark.parametrize("name", ["mammography", "cxr", "ct"])
def test_where_left_and_right_matter_nothing_is_mirrored(name: str) -> None:
    assert [preset(name)[chance] for chance in CHANCES] == [0, 0, 0]


def test_fundus_is_the_disc_in_a_square() -> None:
    image = fundus_phantom(radius=50)  # its box is 90 x 99
    done = Compose(fpt_transforms(preset("fundus")["preparing"]))({"image": image})["image"]
    assert done.shape == (3, 99, 99) and torch.equal(done[:, 4:94], image[:, :, 13:112])


def test_both_breasts_look_alike() -> None:
    prepare = Compose(fpt_transforms(preset("mammography")["preparing"]))
    left = prepare({"image": breast_phantom(), "laterality": "L"})["image"]
    right = prepare({"image": breast_phantom().flip(2), "laterality": "R"})["image"]
    by_light = prepare({"image": with_meta(breast_phantom().flip(2))})["image"]
    assert torch.equal(left, right) and torch.equal(left, by_light.as_tensor())
    assert left.shape[1] == left.shape[2] and not left[:, :, -20:].any()


def test_the_windows_of_ct_are_three_channels() -> None:
    assert FPTImageReader(**preset("ct")["+reader"]).options.windows == ((-600, 1500), (40, 400), (400, 1800))
