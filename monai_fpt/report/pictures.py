"""Thumbnails for a report out of a data list."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from monai_fpt.data.facts import ImageOptions
from monai_fpt.data.image import read_medical_image

__all__ = ["fpt_thumbnails"]


def fpt_thumbnails(
    items: Sequence[Mapping[str, Any]],
    options: ImageOptions | None = None,
    *,
    side: int = 320,
    load: Callable[[dict[str, Any]], Any] | None = None,
) -> Callable[[str], bytes | None]:
    """A function from the key of an image to a small JPEG of it, for :func:`~monai_fpt.report.save_report`.

    Args:
        items: of a data list.
        options: how files become pixels, those of the model's reader (``FPTImageReader(**card.reader).options``).
        side: longest side of a thumbnail in pixels.
        load: reads an image and prepares it as for the network, which shows it framed as its heat map is; None shows the file's own pixels.

    Returns:
        the function; it gives None for an image that is not in the list or cannot be read.
    """
    listed = {str(item["key"]): item for item in items}
    reading = ImageOptions() if options is None else options

    def thumbnail(key: str) -> bytes | None:
        item = listed.get(key)
        if item is None:
            return None
        frame = item.get("frame", reading.frame)
        try:
            if load is None:
                pixels = read_medical_image(item["image"], dataclasses.replace(reading, frame=frame)).pixels
            else:
                pixels = torch.as_tensor(load(dict(item))["image"]).as_subclass(torch.Tensor).float()
        except Exception:  # the page says that there is no picture
            return None
        scale = min(1.0, side / max(pixels.shape[1:]))
        size = [max(1, round(length * scale)) for length in pixels.shape[1:]]
        small = F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0].clamp(
            0, 1
        )
        buffer = io.BytesIO()
        Image.fromarray((small * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return thumbnail
