"""FPTConfig: what it refuses and with which sentence, and its way through JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from monai_fpt.networks import FPTConfig

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "fpt++"}, r"method='fpt\+\+' is not one of 'fpt_plus', 'fpt'"),
    "importance": ({"importance": "cls"}, r"importance='cls' is not one of 'global', 'class_token'"),
    "prefix_tokens": ({"prefix_tokens": True}, r"prefix_tokens=True is not one of 'compete', 'keep', 'drop'"),
    "positions": ({"positions": "hf"}, r"positions='hf' is not one of 'fpt', 'timm'"),
    "side_init": ({"side_init": "xavier"}, r"side_init='xavier' is not one of 'fixed', 'fan_in'"),
    "image_size of zero": ({"image_size": 0}, r"image_size=0 must be a whole number of at least 1"),
    "image_size as a pair": ({"image_size": (512, 512)}, r"image_size=\(512, 512\) must be a whole number"),
    "classes as text": ({"num_classes": "5"}, r"num_classes='5' must be a whole number of at least 1"),
    "no classes": ({"num_classes": 0}, r"num_classes=0 must be a whole number of at least 1"),
    "classes as truth": ({"num_classes": True}, r"num_classes=True must be a whole number"),
    "no members": ({"members": 0}, r"members=0 must be a whole number of at least 1"),
    "fewer than no linear members": ({"linear_members": -1}, r"linear_members=-1 must be a whole number of at least 0"),
    "more linear members than members": (
        {"members": 2, "linear_members": 3},
        r"linear_members=3 are some of the members, of which there are 2",
    ),
    "no prompts": ({"num_prompts": 0}, r"num_prompts=0 must be"),
    "half a reduction": ({"side_reduction": 1.5}, r"side_reduction=1.5 must be a whole number"),
    "side_size": ({"side_size": -16}, r"side_size=-16 must be a whole number of at least 1"),
    "num_tokens": ({"num_tokens": 0}, r"num_tokens=0 must be a whole number of at least 1"),
    "ratio of zero": ({"token_ratio": 0.0}, r"token_ratio=0.0 must lie above 0 and at most at 1, or give num_tokens"),
    "ratio above one": ({"token_ratio": 20}, r"token_ratio=20 must lie above 0"),
    "no ratio": ({"token_ratio": None}, r"token_ratio=None must lie above 0 .* or give num_tokens"),
    "ratio that is no number": ({"token_ratio": float("nan")}, r"token_ratio=nan must lie"),
    "ratio as text": ({"token_ratio": "0.2"}, r"token_ratio='?0.2'? must"),
    "dropout of one": ({"dropout": 1.0}, r"dropout=1.0 must lie at 0 or above and below 1"),
    "negative dropout": ({"dropout": -0.1}, r"dropout=-0.1 must lie"),
    "norm_eps": ({"norm_eps": 0.0}, r"norm_eps=0.0 must be positive, or None for the backbone's own"),
    "blocks as text": ({"blocks": "6-11"}, r"blocks="),
    "one block": ({"blocks": 5}, r"blocks=5 must be whole numbers, as in"),
    "half a block": ({"blocks": (1.5,)}, r"blocks="),
}


@pytest.mark.parametrize(("fields", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_value_out_of_range_is_refused_by_name(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FPTConfig(**fields)


def test_defaults_are_the_paper_s() -> None:
    config = FPTConfig()

    assert (config.image_size, config.token_ratio, config.num_prompts, config.side_reduction) == (512, 0.2, 16, 8)
    assert (config.dropout, config.importance, config.prefix_tokens, config.positions) == (
        0.5,
        "global",
        "compete",
        "fpt",
    )
    assert config.backbone == "vit_base_patch16_384.orig_in21k_ft_in1k"


@pytest.mark.parametrize(
    ("method", "side_size", "patch", "pixels"),
    [
        ("fpt_plus", None, 16, 128),
        ("fpt", None, 16, 224),
        ("fpt_plus", None, 14, 126),
        ("fpt", None, 14, 224),
        ("fpt_plus", 96, 16, 96),
        ("fpt_plus", None, 512, 512),
    ],
)
def test_the_side_network_reads_whole_patches(method: Any, side_size: int | None, patch: int, pixels: int) -> None:
    assert FPTConfig(method=method, side_size=side_size).side_pixels(patch) == pixels


@pytest.mark.parametrize(("side_size", "mend"), [(100, "use 96 or 112"), (10, "use 16 or 32")])
def test_a_side_size_of_broken_patches_is_refused_with_its_neighbours(side_size: int, mend: str) -> None:
    with pytest.raises(ValueError, match=rf"side_size={side_size} is no multiple of .* patch size of 16; {mend}"):
        FPTConfig(side_size=side_size).side_pixels(16)


EVERY_FIELD = FPTConfig(
    method="fpt",
    backbone="vit_tiny_patch16_224",
    backbone_weights="weights.safetensors",
    image_size=96,
    num_classes=4,
    side_size=48,
    blocks=(0, 2),
    importance="class_token",
    token_ratio=None,
    num_tokens=9,
    prefix_tokens="keep",
    num_prompts=3,
    side_reduction=4,
    dropout=0.1,
    positions="timm",
    norm_eps=1e-12,
    side_init="fan_in",
    members=3,
    linear_members=1,
    recompute=True,
    backbone_kwargs={"depth": 3},
)


@pytest.mark.parametrize("config", [FPTConfig(), EVERY_FIELD], ids=["defaults", "every field changed"])
def test_a_configuration_survives_json(config: FPTConfig, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")

    assert FPTConfig.from_dict(json.loads(path.read_text(encoding="utf-8"))) == config
    assert FPTConfig.load(path) == config


def test_the_example_of_every_field_really_changes_every_field() -> None:
    same = [
        f.name for f in dataclasses.fields(FPTConfig) if getattr(EVERY_FIELD, f.name) == getattr(FPTConfig(), f.name)
    ]

    assert not same


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"FPTConfig has no field prompts; the fields are .*num_prompts"):
        FPTConfig.from_dict({"prompts": 16})


def test_a_configuration_cannot_be_changed_behind_the_cache_s_back() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FPTConfig().image_size = 1024  # type: ignore[misc]
