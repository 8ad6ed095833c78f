"""Transforms from a model's card: the same as the originals, and nothing that could run foreign code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai.transforms
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from transform_phantoms import breast_phantom

import monai_fpt.transforms
from monai_fpt.transforms import FPTBreastCropd, FPTResizePadd, fpt_describe, fpt_transforms
from monai_fpt.transforms.rebuild import _ALLOWED

OURS, MONAIS = "monai_fpt.transforms.", "monai.transforms."
ENTRIES: list[dict[str, Any]] = [
    {"_target_": OURS + "FPTBreastCropd", "keys": ["image"], "margin": 0.02},
    {"_target_": OURS + "FPTResizePadDict", "keys": "image", "size": 64, "method": "end"},
    {
        "_target_": MONAIS + "Compose",
        "transforms": [{"_target_": MONAIS + "GaussianSmoothd", "keys": "image", "sigma": 1}],
    },
    {"_target_": MONAIS + "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 2, "b_min": 0, "b_max": 1},
]


def test_rebuilt_transforms_are_described_and_do_as_the_originals() -> None:
    written = json.loads(json.dumps(ENTRIES))
    rebuilt = fpt_transforms(written)
    by_monai = ConfigParser({"all": ENTRIES}).get_parsed_content("all")
    assert fpt_describe(rebuilt) == fpt_describe(by_monai) == fpt_describe(fpt_transforms(written))
    by_hand = [FPTBreastCropd(["image"], margin=0.02), FPTResizePadd("image", 64, method="end")]
    assert fpt_describe(rebuilt[:2]) == fpt_describe(by_hand)
    image = breast_phantom()
    ours, theirs = (Compose(chain)({"image": image})["image"] for chain in (rebuilt, by_monai))
    assert torch.equal(ours, theirs) and ours.shape == (3, 64, 64)
    assert written == ENTRIES


@pytest.mark.parametrize(
    "target",
    [
        MONAIS + "Lambda",
        MONAIS + "Lambdad",
        MONAIS + "RandLambdad",
        MONAIS + "LoadImaged",
        MONAIS + "SaveImaged",
        MONAIS + "TorchVisiond",
        MONAIS + "TorchIO",
        MONAIS + "SimulateDelayd",
        MONAIS + "PythonExecd",
        MONAIS + "RandFlipd",
        MONAIS + "utils.convert_applied_interp_mode",
        MONAIS + "croppad.array.Crop",
        MONAIS + "io.array.LoadImage",
        MONAIS + "__loader__",
        OURS + "fpt_transforms",
        OURS + "RandFPTSideAugmentd",
        OURS + "array.torch.load",
        "monai.data.PILReader",
        "monai.bundle.run",
        "os.system",
        "builtins.eval",
        "Flipd",
        "",
        "monai_fpt.transforms..Flipd",
        7,
        None,
        ["monai.transforms.Flipd"],
    ],
    ids=str,
)
def test_a_name_that_is_not_in_the_list_is_refused(target: Any) -> None:
    entry = {"_target_": target, "keys": "image"}
    for entries in ([entry], [{"_target_": MONAIS + "Compose", "transforms": [entry]}]):
        with pytest.raises(ValueError, match=r"^transforms\[0\].*is not allowed in a model's preprocessing; use"):
            fpt_transforms(entries)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("$__import__('os').system('false')", "expression or a reference"),
        ("@network", "expression or a reference"),
        ("%other.json::x", "expression or a reference"),
        (["ok", ["$1"]], r"keys\[1\]\[0\]: '\$1' is an expression"),
        ({"a": "@b"}, r"keys\.a: '@b'"),
        ({"_mode_": "callable"}, "are not plain arguments"),
        ({1: 2}, "is no plain JSON"),
        (len, "builtin_function_or_method is no plain JSON"),
        (torch.zeros(2), "Tensor is no plain JSON"),
        ({"_target_": "os.getcwd"}, "is not allowed"),
    ],
    ids=[
        "expression",
        "reference",
        "macro",
        "nested list",
        "nested mapping",
        "special",
        "keys",
        "function",
        "tensor",
        "nested",
    ],
)
def test_arguments_are_plain_json(argument: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fpt_transforms([{"_target_": MONAIS + "Flipd", "keys": argument}])


def test_special_ids_and_wrong_arguments_are_refused() -> None:
    good = {"_target_": OURS + "FPTFundusCropd", "keys": "image"}
    for special in ("_mode_", "_requires_", "_disabled_", "_desc_", "$x"):
        with pytest.raises(ValueError, match="not plain arguments; remove them"):
            fpt_transforms([good | {special: True}])
    with pytest.raises(ValueError, match=r"FPTFundusCropd cannot be made: .*treshold.*; correct its arguments"):
        fpt_transforms([good | {"treshold": 0.1}])
    with pytest.raises(ValueError, match=r"transforms\[1\]: .*threshold is 7; choose"):
        fpt_transforms([good, good | {"threshold": 7}])


@pytest.mark.parametrize("entries", [{"_target_": "x"}, "x", None, [1], [{"keys": "image"}], [[]]], ids=str)
def test_only_a_list_of_entries_is_taken(entries: Any) -> None:
    with pytest.raises(ValueError, match=r"transforms.*give"):
        fpt_transforms(entries)


def test_an_empty_list_is_nothing() -> None:
    assert fpt_transforms([]) == []


@pytest.mark.parametrize("room", sorted(_ALLOWED))
def test_every_name_in_the_list_is_a_deterministic_transform(room: str) -> None:
    module = {"monai.transforms": monai.transforms, "monai_fpt.transforms": monai_fpt.transforms}[room]
    made = [getattr(module, name) for name in sorted(_ALLOWED[room])]
    assert all(issubclass(each, monai.transforms.Transform) for each in made)
    randoms = [each for each in made if issubclass(each, monai.transforms.RandomizableTransform)]
    assert not randoms


def test_all_our_deterministic_transforms_are_in_the_list() -> None:
    own = {name for name in monai_fpt.transforms.__all__ if name.startswith("FPT")}
    assert own == _ALLOWED["monai_fpt.transforms"]


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expression"):
        fpt_transforms([{"_target_": OURS + "FPTWindowd", "keys": "$open('owned', 'w')", "windows": "lung"}])
    assert not list(tmp_path.iterdir())
