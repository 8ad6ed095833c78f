"""Caches of a comparison: the one that all read, and those of arms with other features; and what it took to fill them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.compare.fillings import CacheFillings
from monai_fpt.experiments.recipe import FPTRecipe, open_recipe, train_parser
from monai_fpt.features import FeatureStore, StoredTokens

__all__ = ["TOKEN_ORDER", "open_counted", "recipe_with_tokens"]

TOKEN_ORDER: tuple[StoredTokens, ...] = ("none", "pooled", "all")
"""Each holds what those before it hold."""


def recipe_with_tokens(
    overrides: Mapping[str, Any], configs: Sequence[str], tokens: StoredTokens, fillings: CacheFillings
) -> FPTRecipe:
    """The recipe with a cache that holds these tokens; where the folder holds fewer, in another beside it.

    Args:
        overrides, configs: of the recipe.
        tokens: that the arms need at least.
        fillings: gets what it took.
    """
    value = train_parser(overrides, configs).get_parsed_content
    folder = Path(value("cache_dir"))
    if value("tokens") in TOKEN_ORDER:  # what the caller wants kept anyway; FeatureSpec refuses another word
        tokens = max(tokens, value("tokens"), key=TOKEN_ORDER.index)
    held = _held_tokens(folder)
    if held is not None and TOKEN_ORDER.index(held) < TOKEN_ORDER.index(tokens):
        folder = folder.with_name(f"{folder.name}_tokens_{tokens}")
        held = _held_tokens(folder)
    whole = dict(overrides) | {"cache_dir": str(folder), "tokens": held if held is not None else tokens}
    return open_counted(whole, configs, folder, fillings)


def open_counted(
    overrides: Mapping[str, Any], configs: Sequence[str], folder: Path, fillings: CacheFillings
) -> FPTRecipe:
    """Open a recipe, and note of each cache that it fills the images and seconds (shared by images where it fills several).

    Args:
        overrides, configs: of the recipe.
        folder: of its cache; further ones (views) lie beside it under names that begin alike.
        fillings: gets what it took.
    """
    before, began = _images_held(folder), time.monotonic()
    recipe = open_recipe(overrides, configs)
    seconds = time.monotonic() - began
    filled = {name: count - before.get(name, 0) for name, count in _images_held(folder).items()}
    filled = {name: count for name, count in filled.items() if count > 0}
    for name, count in filled.items():
        fillings.add(name, count, seconds * count / sum(filled.values()))
    return recipe


def _held_tokens(folder: Path) -> StoredTokens | None:
    """Which tokens a cache holds; None where there is no cache."""
    if not (folder / "spec.json").is_file():
        return None
    held: StoredTokens = FeatureStore(folder).spec.tokens
    return held


def _images_held(folder: Path) -> dict[str, int]:
    """Images of this cache and of those beside it whose names begin alike."""
    found: dict[str, int] = {}
    beside = sorted(folder.parent.glob("*/spec.json"))
    for path in (one.parent for one in beside if one.parent.name.startswith(folder.name)):
        try:
            found[path.name] = len(FeatureStore(path))
        except ValueError:  # of another version: nobody's here
            continue
    return found
