"""The transforms of :mod:`monai_fpt.transforms.array` for dictionaries, with MONAI's conventions of names and
arguments."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends

from monai_fpt.transforms.array import FPTNormalize, FPTResize, RandFPTSideAugment

__all__ = [
    "FPTNormalizeD",
    "FPTNormalizeDict",
    "FPTNormalized",
    "FPTResizeD",
    "FPTResizeDict",
    "FPTResized",
    "RandFPTSideAugmentD",
    "RandFPTSideAugmentDict",
    "RandFPTSideAugmentd",
]


class FPTResized(MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`~monai_fpt.transforms.array.FPTResize`.

    Args:
        keys: keys of the images.
        size: side of the result in pixels.
        allow_missing_keys: skip keys that are absent.

    Example:
        >>> FPTResized("image", 128)({"image": torch.zeros(3, 600, 800)})["image"].shape
        torch.Size([3, 128, 128])
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, keys: KeysCollection, size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.resize = FPTResize(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize the images of one item; the other entries are passed on."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.resize(item[key])
        return item


class FPTNormalized(MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`~monai_fpt.transforms.array.FPTNormalize`.

    Args:
        keys: keys of the images.
        mean: one value a channel, on the scale [0, 1].
        std: likewise, above 0.
        allow_missing_keys: skip keys that are absent.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self, keys: KeysCollection, mean: Sequence[float], std: Sequence[float], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalize = FPTNormalize(mean, std)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise the images of one item; the other entries are passed on."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.normalize(item[key])
        return item


class RandFPTSideAugmentd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`~monai_fpt.transforms.array.RandFPTSideAugment`; all keys are treated alike.

    Args:
        keys: keys of the images, all of one height and width.
        size: side of the result in pixels.
        flip_prob: probability of a horizontal flip.
        brightness: the factor is uniform in [1 - brightness, 1 + brightness].
        contrast: likewise.
        scale: range of the crop's share of the area.
        ratio: range of the crop's width over height.
        vertical_flip_prob: probability of a vertical flip.
        rotate_prob: probability of a turn by 90, 180 or 270 degrees.
        allow_missing_keys: skip keys that are absent.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        flip_prob: float = 0.5,
        brightness: float = 0.2,
        contrast: float = 0.2,
        scale: tuple[float, float] = (0.8, 1.0),
        ratio: tuple[float, float] = (0.7, 1.3),
        vertical_flip_prob: float = 0.0,
        rotate_prob: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.augment = RandFPTSideAugment(
            size, flip_prob, brightness, contrast, scale, ratio, vertical_flip_prob, rotate_prob
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandFPTSideAugmentd:
        """Set the random state of this transform and of its array version."""
        super().set_random_state(seed, state)
        self.augment.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Augment the images of one item with one draw; the other entries are passed on.

        Raises:
            ValueError: the images differ in height or width.
        """
        item = dict(data)
        present = list(self.key_iterator(item))
        if not present:
            return item
        shapes = {key: torch.Size(item[key].shape) for key in present}
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise ValueError(
                f"RandFPTSideAugmentd: the images differ in size, "
                f"{ ({key: tuple(shape) for key, shape in shapes.items()}) }; "
                "resize them first or use one transform for each key."
            )
        draw = self.augment.randomize(shapes[present[0]])
        for key in present:
            item[key] = self.augment(item[key], draw)
        return item


FPTResizeD = FPTResizeDict = FPTResized
FPTNormalizeD = FPTNormalizeDict = FPTNormalized
RandFPTSideAugmentD = RandFPTSideAugmentDict = RandFPTSideAugmentd
