"""A store and a data list as a dataset: thumbnail, features, label. Training never opens the original image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_fpt.features.store import FeatureEntry, FeatureStore
from monai_fpt.networks import QuantizedFeatures

__all__ = ["FeatureDataset", "MissingFeaturesError"]


class MissingFeaturesError(RuntimeError):
    """Images of a data list are not in the cache."""


class FeatureDataset(Dataset[dict[str, Any]]):
    """Items of a data list with what the cache holds of them.

    An item is the data list's, with ``"image"`` replaced by the (3, T, T) uint8 thumbnail and ``"features"`` added: (L,
    2, H, M, D) in the stored precision, or :class:`QuantizedFeatures`. So that items collate, ``"group"`` is the key where
    no group is known, and what only some images of the list have is left out. ``transform`` then makes the side image of
    it.

    Args:
        data: data list items with ``"key"`` and usually ``"image"`` (path) and ``"label"``.
        store: an open store, filled before the first access.
        transform: applied to each item, as a MONAI dictionary transform is.
        use_features: False gives zeros instead of features: the side network alone, for comparison.

    Raises:
        MissingFeaturesError: at the first access, if images are not in the cache in their present content.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        store: FeatureStore,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        use_features: bool = True,
    ) -> None:
        self.data = data
        self.store = store
        self.transform = transform
        self.use_features = use_features
        self._entries: list[FeatureEntry] | None = None
        self._common: set[str] = set()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        stored = self.store.read(self.entries()[index])
        features = stored.features
        if not self.use_features:
            features = (
                QuantizedFeatures(*map(torch.zeros_like, features))
                if isinstance(features, tuple)
                else torch.zeros_like(features)
            )
        listed = self.data[index]
        item = {name: value for name, value in listed.items() if name in self._common}
        item |= {"group": str(listed.get("group", listed["key"])), "image": stored.thumbnail, "features": features}
        if isinstance(item.get("label"), list):
            item["label"] = torch.tensor(item["label"], dtype=torch.float32)
        return item if self.transform is None else self.transform(item)

    def tokens(self) -> Tensor:
        """Tokens of the last layer of all images, for probes: (N, rows, C) float32, rows as the cache's FeatureSpec says.

        Raises:
            MissingFeaturesError: the cache keeps no tokens, or not of all images.
        """
        if self.store.spec.tokens == "none":
            raise MissingFeaturesError(
                f'The cache "{self.store.path}" keeps no tokens of the last layer; extract into another cache_dir with tokens "pooled" or "all".'
            )
        stored = [self.store.read(entry).tokens for entry in self.entries()]
        return torch.stack([tokens for tokens in stored if tokens is not None]).float()

    def entries(self) -> list[FeatureEntry]:
        """The cache entry of every item, in order; resolved once."""
        if self._entries is None:
            found = [self.store.find(item) for item in self.data]
            if None in found:
                self.store.reload()  # another process may have finished them
                found = [self.store.find(item) for item in self.data]
            missing = [str(item["key"]) for item, entry in zip(self.data, found, strict=True) if entry is None]
            if missing:
                raise MissingFeaturesError(
                    f'{len(missing)} of {len(found)} images have no features in the cache "{self.store.path}", or changed since, the first is '
                    f'"{missing[0]}"; run the extraction again.'
                )
            self._entries = [entry for entry in found if entry is not None]
            self._common = set.intersection(*(set(item) for item in self.data))
        return self._entries
