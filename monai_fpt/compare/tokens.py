"""Tokens of the last layer out of a cache, section by section, read when they are asked for and then kept for all arms."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from monai_fpt.data import FPTDataList
from monai_fpt.features import FeatureDataset, FeatureStore

__all__ = ["FPTTokenReader"]

_MOST_IN_MEMORY = 2e9  # bytes; what is more is mapped from a file


class FPTTokenReader:
    """Section to its tokens (N, T, C) float32, prefix tokens first, in the order of the data list.

    Args:
        data: images that are in the cache.
        store: the cache.
        scratch: folder for what is too much for memory.
    """

    def __init__(self, data: FPTDataList, store: FeatureStore, scratch: Path) -> None:
        self.data, self.store, self.scratch = data, store, scratch
        self._sections: dict[str, Tensor] = {}

    def __call__(self, section: str) -> Tensor:
        """Tokens of a section.

        Raises:
            MissingFeaturesError: the cache keeps no tokens.
        """
        if section not in self._sections:
            self._sections[section] = self._read(section)
        return self._sections[section]

    def forget(self) -> None:
        """Give the memory back."""
        self._sections.clear()

    def _read(self, section: str) -> Tensor:
        dataset = FeatureDataset(self.data.section(section), self.store)
        rows, width = self.store.spec.token_shape
        count = len(dataset)
        if not count or self.store.spec.tokens == "none" or 4.0 * count * rows * width <= _MOST_IN_MEMORY:
            return dataset.tokens() if count else torch.zeros(0, rows, width)
        self.scratch.mkdir(parents=True, exist_ok=True)
        path = self.scratch / f"tokens_{section}.float32"
        mapped = torch.from_file(str(path), shared=True, size=count * rows * width).view(count, rows, width)
        for row, entry in enumerate(dataset.entries()):
            tokens = self.store.read(entry).tokens
            assert tokens is not None
            mapped[row] = tokens.float()
        return mapped
