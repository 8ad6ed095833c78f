"""Heat maps for a report: where the network looked for what it said, over the image as it was prepared for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from monai_fpt.features import FeatureDataset
from monai_fpt.networks import FPTClassifier, QuantizedFeatures
from monai_fpt.visualize import attention_maps, overlay

__all__ = ["fpt_heat_maps"]


def fpt_heat_maps(
    dataset: FeatureDataset,
    network: FPTClassifier,
    load: Callable[[dict[str, Any]], Any],
    *,
    side: int = 320,
) -> Callable[[str], bytes | None]:
    """A function from the key of an image to a small JPEG of its heat map, for :func:`~monai_fpt.report.save_report`.

    The map is that of the most probable class (finding), from the features in the cache; the backbone is not asked.

    Args:
        dataset: of the images, with the transform that makes the side image.
        network: trained.
        load: reads an image and prepares it, without the resize to a square: item to item, its ``"image"`` (3, H, W) in [0, 1].
        side: longest side of a picture in pixels.

    Returns:
        the function; it gives None for an image that is not in the data set.
    """
    places = {str(item["key"]): place for place, item in enumerate(dataset.data)}

    def heat_map(key: str) -> bytes | None:
        place = places.get(key)
        if place is None:
            return None
        device = next(network.parameters()).device
        item = dataset[place]
        features = item["features"]
        if isinstance(features, tuple):
            features = QuantizedFeatures(*(part.to(device) for part in features))
        else:
            features = features.to(device)
        indices = dataset.store.read(dataset.entries()[place]).indices.to(device)
        side_image = torch.as_tensor(item["image"]).to(device)
        heat = attention_maps(network, features, indices, side_image, target="predicted").heat()[0, 0].cpu()
        pixels = torch.as_tensor(load(dict(dataset.data[place]))["image"]).float()
        scale = min(1.0, side / max(pixels.shape[1:]))
        size = [max(1, round(length * scale)) for length in pixels.shape[1:]]
        small = F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        buffer = io.BytesIO()
        overlay(small.clamp(0, 1), heat).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return heat_map
