"""Tokens of the last layer beside the features: what timm computes, in the same pass, and never at the features' cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import timm
import torch
from feature_toys import CONFIG, Toy, flat, load_toy, make_items

from monai_fpt.features import (
    FeatureDataset,
    FeatureSpec,
    FeatureSpecMismatchError,
    FeatureStore,
    MissingFeaturesError,
)
from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT


def filled(toy: Toy, name: str, tokens: Any, dtype: Any = "float32") -> tuple[FeatureStore, list[dict[str, Any]]]:
    store = FeatureStore(toy.folder / name, toy.spec(dtype, tokens=tokens))
    items = make_items(toy.folder / "images", ["a.raw", "b.raw", "c.raw"])
    toy.extract(items, store).require_complete()
    return store, items


def independent_tokens(toy: Toy, items: list[dict[str, Any]]) -> torch.Tensor:
    """What timm's own forward_features makes of the images, at the size it was created for."""
    trunk = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2).eval()
    trunk.load_state_dict(toy.backbone.vit.state_dict())
    images = (torch.stack([load_toy(item) for item in items]) - 0.5) / 0.5
    with torch.no_grad():
        tokens: torch.Tensor = trunk.forward_features(images)
    return tokens


def test_all_tokens_are_those_of_timm(toy: Toy) -> None:
    store, items = filled(toy, "all", "all")

    assert store.spec.token_shape == (5, 192)
    torch.testing.assert_close(
        FeatureDataset(items, store).tokens(), independent_tokens(toy, items), atol=2e-5, rtol=1e-5
    )


def test_pooled_tokens_are_the_class_token_and_the_mean_of_the_patches(toy: Toy) -> None:
    store, items = filled(toy, "pooled", "pooled")

    tokens = independent_tokens(toy, items)
    wanted = torch.stack([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(FeatureDataset(items, store).tokens(), wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", ["pooled", "all"])
def test_features_are_the_same_bits_with_and_without_tokens(tokens: str, toy: Toy) -> None:
    plain, items = filled(toy, "plain", "none")
    with_tokens, _ = filled(toy, tokens, tokens)

    for item in items:
        one, other = (store.read(entry) for store in (plain, with_tokens) if (entry := store.find(item)))
        assert other.tokens is not None
        assert all(torch.equal(a, b) for a, b in zip(flat(one), flat(other)[:-1], strict=True))


def test_a_backbone_without_a_class_token_gives_the_mean_alone() -> None:
    config = FPTConfig(
        backbone="vit_tiny_patch16_224",
        backbone_weights=None,
        image_size=64,
        backbone_kwargs={"depth": 2, "class_token": False, "global_pool": "avg"},
    )
    network = FPTClassifier(config)
    images = torch.randn(2, 3, 64, 64)

    _, tokens = network.backbone.forward_tokens(images)

    assert FeatureSpec.from_network(network, tokens="pooled").token_shape == (1, 192)
    torch.testing.assert_close(network.backbone.pool_tokens(tokens), tokens.mean(dim=1, keepdim=True))


def test_register_tokens_are_not_among_the_patches() -> None:
    vit = FrozenViT(
        "vit_tiny_patch16_224", None, 32, create_kwargs={"depth": 2, "reg_tokens": 3, "no_embed_class": True}
    )

    _, tokens = vit.forward_tokens(torch.randn(1, 3, 32, 32))

    assert tokens.shape == (1, 1 + 3 + 4, 192)
    torch.testing.assert_close(vit.pool_tokens(tokens)[:, 1], tokens[:, 4:].mean(dim=1))


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_tokens_are_float16_beside_narrow_features(dtype: str, toy: Toy) -> None:
    store, items = filled(toy, "narrow", "all", dtype)

    entry = store.find(items[0])
    assert entry is not None
    tokens = store.read(entry).tokens
    assert tokens is not None
    assert tokens.dtype == torch.float16
    torch.testing.assert_close(tokens.float(), independent_tokens(toy, items)[0], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(("kept", "asked"), [("all", "none"), ("all", "pooled"), ("pooled", "none")])
def test_a_cache_that_keeps_more_serves_who_asks_for_less(kept: str, asked: Any, toy: Toy) -> None:
    _, items = filled(toy, "rich", kept)

    store = FeatureStore(toy.folder / "rich", toy.spec("float32", tokens=asked))

    assert store.spec.tokens == kept
    assert len(FeatureDataset(items, store)[0]["features"]) == len(toy.spec().blocks)
    assert toy.extract(items, store).extracted == 0


@pytest.mark.parametrize(("kept", "asked"), [("none", "pooled"), ("none", "all"), ("pooled", "all")])
def test_a_cache_that_keeps_less_is_refused(kept: str, asked: Any, toy: Toy) -> None:
    filled(toy, "poor", kept)

    with pytest.raises(FeatureSpecMismatchError, match=rf"tokens \(cache: {kept}, wanted: {asked}\)"):
        FeatureStore(toy.folder / "poor", toy.spec("float32", tokens=asked))


def test_a_cache_without_tokens_says_so_when_they_are_asked_for(toy: Toy) -> None:
    store, items = filled(toy, "plain", "none")

    with pytest.raises(MissingFeaturesError, match=r'keeps no tokens of the last layer; .* tokens "pooled" or "all"'):
        FeatureDataset(items, store).tokens()


def test_a_specification_without_tokens_has_the_fingerprint_it_had_before_there_were_any(toy: Toy) -> None:
    spec = toy.spec()

    assert {"tokens", "token_rows"}.isdisjoint(spec.to_dict())
    assert FeatureSpec.from_dict(spec.to_dict()) == spec
    assert toy.spec(tokens="all").without_tokens() == spec
    assert toy.spec(tokens="all").fingerprint != spec.fingerprint


def test_a_network_that_ends_before_the_last_block_has_no_such_tokens() -> None:
    network = FPTClassifier(dataclasses.replace(CONFIG, blocks=(0,)))

    with pytest.raises(ValueError, match="the network ends at block 0 of 2; tap block 1 too"):
        FeatureSpec.from_network(network, tokens="pooled")
    with pytest.raises(ValueError, match="block 0 is the last that is tapped and kept of 2"):
        network.backbone.forward_tokens(torch.zeros(1, 3, 32, 32))


def test_an_unknown_choice_of_tokens_is_refused(toy: Toy) -> None:
    with pytest.raises(ValueError, match="tokens='some' is not one of 'none', 'pooled', 'all'"):
        toy.spec(tokens="some")
