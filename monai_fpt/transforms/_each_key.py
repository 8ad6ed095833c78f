"""The dictionary half of a pair, written once: an array transform applied to one key after another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TransformBackends

__all__ = ["FPTEachKeyInverted", "FPTEachKeyd"]


class FPTEachKeyd(MapTransform):  # type: ignore[misc]
    """Apply one array transform to each key; the other entries are passed on.

    Args:
        keys: keys of the images.
        transform: the array transform.
        allow_missing_keys: skip keys that are absent.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, keys: KeysCollection, transform: Any, allow_missing_keys: bool) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform the images of one item; the other entries are passed on."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.transform(item[key])
        return item


class FPTEachKeyInverted(FPTEachKeyd, InvertibleTransform):  # type: ignore[misc]
    """The same for array transforms that can be inverted."""

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo the transform on each key."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.transform.inverse(item[key])
        return item

    def source_of(self, item: Mapping[Hashable, Any], source_key: Hashable | None) -> Hashable | None:
        """The key that decides for all keys of an item, or None where there is nothing to be done.

        Args:
            item: images by their keys.
            source_key: the deciding key; None is the first of ``keys``.

        Raises:
            KeyError: the deciding image is absent while others are there.
            ValueError: the images differ in height or width.
        """
        present = list(self.key_iterator(item))
        if not present:
            return None
        source = self.keys[0] if source_key is None else source_key
        name = type(self).__name__
        if source not in item:
            raise KeyError(
                f"{name}: the item has no {source!r}, which decides for {present}; add it or set source_key."
            )
        sizes = {key: tuple(item[key].shape[-2:]) for key in [source, *present]}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"{name}: the images differ in height or width, {sizes}; bring them to one size first or use one "
                "transform for each key."
            )
        return source
