"""FeatureSpec: two caches with one fingerprint hold the same numbers, two with different ones are never mixed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from feature_toys import CONFIG, Toy

from monai_fpt.features import FeatureSpec, FeatureSpecMismatchError, FeatureStore, random_features
from monai_fpt.networks import FPTClassifier, FPTConfig

CHANGES: dict[str, Any] = {
    "backbone": "vit_small_patch16_224",
    "backbone_fingerprint": "0" * 64,
    "image_size": 48,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.1, 0.2, 0.3),
    "preprocessing": "window 40/400",
    "blocks": (0,),
    "importance": "class_token",
    "prefix_tokens": "drop",
    "positions": "timm",
    "norm_eps": 1e-12,
    "num_tokens": 3,
    "num_all_tokens": 10,
    "num_heads": 4,
    "head_dim": 48,
    "thumbnail_size": 24,
    "dtype": "int8",
    "compute_dtype": "bfloat16",
    "format_version": 2,
    "tokens": "pooled",
    "token_rows": 2,
}


def test_every_field_has_a_change_to_try() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(FeatureSpec)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_changes_the_fingerprint(name: str, toy: Toy) -> None:
    assert dataclasses.replace(toy.spec(), **{name: CHANGES[name]}).fingerprint != toy.spec().fingerprint


@pytest.mark.parametrize("name", CHANGES)
def test_a_cache_of_another_specification_is_refused_and_the_field_is_named(name: str, toy: Toy) -> None:
    with toy.store().writer():
        pass

    with pytest.raises(FeatureSpecMismatchError) as refused:
        FeatureStore(toy.folder / "cache", dataclasses.replace(toy.spec(), **{name: CHANGES[name]}))

    message = str(refused.value)
    assert f"{name} (cache: " in message
    assert message.count("(cache: ") == 1
    assert "Use another cache_dir" in message


def test_all_differing_fields_are_named_with_both_values(toy: Toy) -> None:
    with toy.store().writer():
        pass

    with pytest.raises(
        FeatureSpecMismatchError, match=r"image_size \(cache: 32, wanted: 48\); num_tokens \(cache: 2, wanted: 3\)"
    ):
        FeatureStore(toy.folder / "cache", dataclasses.replace(toy.spec(), image_size=48, num_tokens=3))


def test_long_values_that_differ_only_at_their_end_are_still_told_apart(toy: Toy) -> None:
    text = "read as 8 bit, window as stored in the file, " * 3
    first, second = toy.spec(preprocessing=text + "A"), toy.spec(preprocessing=text + "B")

    with pytest.raises(FeatureSpecMismatchError) as refused:
        first.require_equal(second, "here")

    cache, wanted = str(refused.value).split("(cache: ")[1].split("). Use")[0].split(", wanted: ")
    assert cache != wanted


def test_a_specification_survives_json(toy: Toy) -> None:
    spec = toy.spec(mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1), preprocessing="as is")

    again = FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict())))

    assert again == spec
    assert again.fingerprint == spec.fingerprint


@pytest.mark.parametrize("edit", [lambda d: d.pop("mean"), lambda d: d.update(colour=1)], ids=["missing", "unknown"])
def test_fields_of_another_version_are_refused(edit: Any, toy: Toy) -> None:
    values = toy.spec().to_dict()
    edit(values)

    with pytest.raises(ValueError, match=r"no FeatureSpec of this version: (mean|colour) missing or unknown"):
        FeatureSpec.from_dict(values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dtype": "bfloat16"}, "dtype='bfloat16' is not one of"),
        ({"compute_dtype": "fp16"}, "compute_dtype='fp16' is not one of"),
        ({"mean": (0.5,)}, r"mean=\[0.5\] .* must be three numbers each"),
        ({"std": (0.1, 0.0, 0.1)}, "std positive"),
    ],
    ids=["dtype", "compute_dtype", "mean", "std"],
)
def test_a_specification_that_cannot_be_is_refused(change: dict[str, Any], sentence: str, toy: Toy) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(toy.spec(), **change)


def test_settings_of_the_network_that_change_features_change_the_specification(toy: Toy) -> None:
    changes: list[dict[str, Any]] = [
        {"image_size": 48},
        {"side_size": 32},
        {"blocks": (0,)},
        {"num_tokens": 3},
        {"importance": "class_token"},
        {"prefix_tokens": "drop"},
        {"positions": "timm"},
        {"norm_eps": 1e-12},
        {"backbone_kwargs": {"depth": 3}},
    ]

    made = {
        FeatureSpec.from_network(FPTClassifier(dataclasses.replace(CONFIG, **change))).fingerprint for change in changes
    }

    assert len(made | {FeatureSpec.from_network(toy.network).fingerprint}) == len(changes) + 1


@pytest.mark.parametrize(
    "change", [{"num_classes": 7}, {"num_prompts": 2}, {"dropout": 0.1}, {"side_reduction": 4}], ids=str
)
def test_settings_that_change_no_feature_share_a_cache(change: dict[str, Any], toy: Toy) -> None:
    other = FPTClassifier(dataclasses.replace(CONFIG, **change))

    assert FeatureSpec.from_network(other) == FeatureSpec.from_network(toy.network)


def test_random_features_fit_the_network(toy: Toy) -> None:
    features = random_features(CONFIG, batch=2)

    assert features.dtype == torch.float16
    assert toy.network(torch.rand(2, 3, 16, 16), features).shape == (2, 2)
    assert features.float().std().item() == pytest.approx(1, rel=0.2)


def test_random_features_need_no_pretrained_weights() -> None:
    assert random_features(FPTConfig(image_size=64), 1).shape == (1, 6, 2, 12, 3, 64)
