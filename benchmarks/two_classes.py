"""What the measurements of recipes on a set of two classes have in common: their options, and the recipe that these open."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's first import

__all__ = ["recipe_options", "two_class_recipe"]


def recipe_options(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows the data, the backbone and the length of a training."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir")
    parser.add_argument("--data_list", default=None)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--backbone_weights", required=True)
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--max_epochs", type=int, default=20)
    parser.add_argument("--cache_dir", default=None)
    return parser


@contextlib.contextmanager
def two_class_recipe(given: argparse.Namespace, script: str, without: Collection[str]) -> Iterator[Any]:
    """The bundle's recipe with these options, its cache filled; what it writes is gone afterwards.

    Args:
        given: options.
        script: for the sentence of refusal.
        without: options that are not the recipe's.

    Raises:
        SystemExit: not two exclusive classes.
    """
    from monai_fpt.experiments.recipe import open_recipe

    with tempfile.TemporaryDirectory() as work:
        own = {name: value for name, value in vars(given).items() if name not in without and value is not None}
        own = {"cache_dir": str(Path(work) / "features"), **own, "run_dir": work, "split_seed": 0, "track": False}
        recipe = open_recipe(own)
        if recipe.data.task != "multiclass" or len(recipe.data.classes) != 2:
            raise SystemExit(f"{script}: two exclusive classes are needed; name another dataset_dir or data_list.")
        yield recipe
