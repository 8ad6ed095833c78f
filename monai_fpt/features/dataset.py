"""A store and a data list as a dataset: thumbnail, features, label. Training never opens the original image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
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
        views: further stores of the same images read in other ways (mirrored, say). Every access draws one of all stores,
            and takes thumbnail and features from it, so that both show the same view; MONAI's ``set_rnd`` seeds the draws.
        load: item -> (3, H, W) image in [0, 1], or a mapping with such an ``"image"``: read again at every access, and given
            instead of the thumbnail. For comparison: it is what the thumbnail spares. It cannot go with ``views``.

    Raises:
        ValueError: ``load`` with ``views``.
        MissingFeaturesError: at the first access, if images are not in the cache in their present content.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        store: FeatureStore,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        use_features: bool = True,
        views: Sequence[FeatureStore] = (),
        load: Callable[[Mapping[str, Any]], Any] | None = None,
    ) -> None:
        if views and load is not None:
            raise ValueError(
                "FeatureDataset: an image that is loaded again shows none of the views; give views or load."
            )
        self.data = data
        self.store = store
        self.transform = transform
        self.use_features = use_features
        self.stores = (store, *views)
        self.load = load
        self._entries: dict[int, list[FeatureEntry]] = {}
        self._common: set[str] | None = None
        if views:  # without them there is nothing to seed, and transforms keep the numbers they had
            self._draw = _Draw(len(self.stores))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        view = self._draw() if len(self.stores) > 1 else 0
        stored = self.stores[view].read(self.entries(view)[index])
        features = stored.features
        if not self.use_features:
            features = (
                QuantizedFeatures(*map(torch.zeros_like, features))
                if isinstance(features, tuple)
                else torch.zeros_like(features)
            )
        listed = self.data[index]
        if self._common is None:
            self._common = set.intersection(*(set(item) for item in self.data))
        item = {name: value for name, value in listed.items() if name in self._common}
        item |= {
            "group": str(listed.get("group", listed["key"])),
            "image": self._image(listed, stored.thumbnail),
            "features": features,
        }
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

    def entries(self, view: int = 0) -> list[FeatureEntry]:
        """The cache entry of every item in one of the stores, in order; resolved once."""
        if view not in self._entries:
            store = self.stores[view]
            items = list(self.data)
            listed = {id(item): item for item in items}  # an item may be there several times
            found = {number: store.find(item) for number, item in listed.items()}
            if None in found.values():
                store.reload()  # another process may have finished them
                found = {number: store.find(item) for number, item in listed.items()}
            missing = [str(listed[number]["key"]) for number, entry in found.items() if entry is None]
            if missing:
                raise MissingFeaturesError(
                    f'{len(missing)} of {len(found)} images have no features in the cache "{store.path}", or changed since, the first is '
                    f'"{missing[0]}"; run the extraction again.'
                )
            self._entries[view] = [entry for item in items if (entry := found[id(item)]) is not None]
        return self._entries[view]

    def _image(self, item: Mapping[str, Any], thumbnail: Tensor) -> Tensor:
        if self.load is None:
            return thumbnail
        loaded = self.load(dict(item))
        return torch.as_tensor(loaded["image"] if isinstance(loaded, Mapping) else loaded).as_subclass(Tensor)


class _Draw:
    """A number below ``count``; seeded as MONAI seeds its random transforms."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.R = np.random.RandomState()

    def set_random_state(self, seed: int | None = None) -> None:
        self.R = np.random.RandomState(seed)

    def __call__(self) -> int:
        return int(self.R.randint(self.count))
