"""The ablations of the paper and of this package: FPT+ as given, with one thing changed.

What a backbone cannot do, and what the recipe is anyway, is left out and said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from monai_fpt.compare.arms import FPT_ARMS, FPTArmInfo
from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT

__all__ = ["ABLATION_SOURCES", "ablation_arms", "ablation_names"]

_NETWORK = "network_config#"
_PAPER = "ablation of the paper"
_OURS = "ablation of this package"
ABLATION_SOURCES = (_PAPER, _OURS)
"""Sources of arms that are no method of their own; the predecessor FPT is one."""
_ANYWAY = "the recipe does this anyway"

_MIRROR = {"_target_": "monai.transforms.Flipd", "keys": "image", "spatial_axis": 1}
_MIRRORED = {  # one of the views that training draws from, see FeatureDataset
    "store": {
        "_target_": "monai_fpt.features.FeatureStore",
        "path": "$str(@cache_dir) + '_mirrored'",
        "spec": "$dataclasses.replace(@spec.without_tokens(), preprocessing=monai_fpt.transforms.fpt_describe(@views#0#load))",
    },
    "load": {"_target_": "Compose", "transforms": ["@loading", _MIRROR]},
}
_ORIGINAL = {"_target_": "Compose", "transforms": "$[@loader, *@preparing]"}


def ablation_names() -> tuple[str, ...]:
    """Names of all ablations, those that a backbone cannot do among them."""
    return tuple(name for name, *_ in _changes(12))


def ablation_arms(
    config: FPTConfig, backbone: FrozenViT, feature_dtype: str
) -> tuple[dict[str, FPTArmInfo], dict[str, str]]:
    """The ablations of a recipe.

    Args:
        config: of the recipe's network.
        backbone: of the recipe.
        feature_dtype: how the recipe's cache keeps features.

    Returns:
        the arms by name, and by name why some are left out.
    """
    arms: dict[str, FPTArmInfo] = {}
    skipped: dict[str, str] = {}
    for name, line, source, plain in _changes(backbone.depth):
        by_ratio = f"{_NETWORK}token_ratio" in plain and config.num_tokens is not None  # which would win
        overrides = {**plain, f"{_NETWORK}num_tokens": None} if by_ratio else plain
        alike = next((arm.name for arm in arms.values() if arm.overrides == overrides), "")
        why = f"it is {alike} here" if alike else _impossible(overrides, config, backbone, feature_dtype)
        if why:
            skipped[name] = why
        else:
            arms[name] = FPT_ARMS.get(name) or FPTArmInfo(name, line, source, "adapter", overrides=overrides)
    return arms, skipped


def _changes(depth: int) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """Name, what it is, whose idea it is, ids of the configuration."""
    network = _NETWORK
    found: list[tuple[str, str, str, Mapping[str, Any]]] = [
        (f"token_ratio_{ratio:g}", f"{ratio:.0%} of the tokens kept", _PAPER, {f"{network}token_ratio": ratio})
        for ratio in (0.05, 0.1, 0.5, 1.0)
    ]
    found += [
        ("importance_class_token", "importance by the CLS token", _PAPER, {f"{network}importance": "class_token"}),
        ("blocks_all", "all blocks tapped", _PAPER, {f"{network}blocks": list(range(depth))}),
        ("blocks_lower", "the lower half of the blocks tapped", _PAPER, {f"{network}blocks": list(range(depth // 2))}),
        (
            "blocks_last_3",
            "the last three blocks tapped",
            _PAPER,
            {f"{network}blocks": list(range(max(0, depth - 3), depth))},
        ),
    ]
    found += [
        (f"{field}_{value:g}", f"{words} {value:g}", _PAPER, {f"{network}{field}": value})
        for field, words, values in (
            ("num_prompts", "fine-grained prompts:", (4, 64)),
            ("side_size", "pixels of the side network's image:", (64, 224)),
            ("side_reduction", "width of the backbone over that of the side network:", (4, 16)),
            ("dropout", "dropout of the fused prompts:", (0.0,)),
        )
        for value in values
    ]
    found += [
        ("fpt", FPT_ARMS["fpt"].line, _PAPER, FPT_ARMS["fpt"].overrides),
        ("side_only", FPT_ARMS["side_only"].line, _PAPER, FPT_ARMS["side_only"].overrides),
        ("feature_dtype_int8", "features kept as int8", _OURS, {"feature_dtype": "int8"}),
        ("feature_dtype_float32", "features kept as float32", _OURS, {"feature_dtype": "float32"}),
        ("prefix_tokens_keep", "CLS and registers always kept", _OURS, {f"{network}prefix_tokens": "keep"}),
        ("prefix_tokens_drop", "CLS and registers never kept", _OURS, {f"{network}prefix_tokens": "drop"}),
        ("num_tokens_64", "64 tokens a head, whatever the resolution", _OURS, {f"{network}num_tokens": 64}),
        ("mirrored_views", "features of mirrored images too", _OURS, {"views": [_MIRRORED], "flip_prob": 0.0}),
        ("original_images", "the side network reads images, not thumbnails", _OURS, {"side_loading": _ORIGINAL}),
        ("side_init_fan_in", "side network started with a gain of one", _OURS, {f"{network}side_init": "fan_in"}),
        ("members_3", "three adapters side by side", _OURS, {f"{network}members": 3, f"{network}linear_members": 0}),
        (
            "linear_member",
            "one prompt a block and a linear layer, no side network",
            _OURS,
            {f"{network}members": 1, f"{network}linear_members": 1},
        ),
    ]
    return found


def _impossible(overrides: Mapping[str, Any], config: FPTConfig, backbone: FrozenViT, feature_dtype: str) -> str:
    """Why an ablation is left out; empty where it can be made."""
    now: dict[str, Any] = {
        **config.to_dict(),
        "blocks": list(backbone.blocks),
        "side_size": config.side_pixels(backbone.patch_size),
    }
    fields = {name.rpartition("#")[2]: value for name, value in overrides.items()}
    counted = {"token_ratio", "num_tokens"} & set(fields)  # two ways to say how many tokens are kept
    alike = [now[name] == value for name, value in fields.items() if name in now and name not in counted]
    if fields.get("feature_dtype") == feature_dtype or (alike and all(alike)):
        return _ANYWAY
    if "prefix_tokens" in fields and not backbone.num_prefix_tokens:
        return "the backbone has neither CLS token nor registers"
    if (fields.get("num_tokens") or 0) > backbone.num_all_tokens:
        return f"the backbone has only {backbone.num_all_tokens} tokens"
    known = {field.name for field in dataclasses.fields(FPTConfig)}
    changed = {name: value for name, value in fields.items() if name in known}
    try:
        with torch.device("meta"):
            network = FPTClassifier(dataclasses.replace(config, backbone_weights=None, **changed))
    except ValueError as error:
        return str(error).rstrip(".")
    return _ANYWAY if counted and network.backbone.num_tokens == backbone.num_tokens else ""
