"""Pictures of the page: thumbnails as data URIs, and the sizes of all images as a drawing."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch.nn.functional as F
from PIL import Image

from monai_fpt.data.check.style import CLASS_COLOURS
from monai_fpt.data.facts import ImageOptions
from monai_fpt.data.image import read_medical_image

__all__ = ["sizes_drawing", "thumbnail_uri"]

_SIDE = 192  # for 128 px of the page
_WIDTH, _HEIGHT, _MARGIN = 560, 360, 64
_MOST_CIRCLES = 400


def thumbnail_uri(item: Mapping[str, Any], options: ImageOptions) -> str | None:
    """A small JPEG of an image as a data URI.

    Args:
        item: of a data list.
        options: how files become pixels.

    Returns:
        the URI; None for an image that cannot be read.
    """
    frame = item.get("frame", options.frame)
    try:
        pixels = read_medical_image(item["image"], dataclasses.replace(options, frame=frame)).pixels
    except Exception:  # the report's findings say why
        return None
    height, width = pixels.shape[1:]
    scale = _SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0].clamp(0, 1)
    picture = Image.fromarray((small * 255).round().byte().permute(1, 2, 0).numpy())
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sizes_drawing(sizes: Sequence[tuple[int, int, str, int]], classes: Sequence[str], image_size: int) -> str:
    """Width against height of all images as inline SVG: a circle for each size and class, its area the number of images.

    Args:
        sizes: (width, height, class name, number of images), most frequent first.
        classes: names of the classes; coloured where there are few.
        image_size: side of the square input in pixels, drawn dashed.

    Returns:
        SVG and its legend; empty where all images have one size.
    """
    if len({(width, height) for width, height, _, _ in sizes}) < 2:
        return ""
    right, top = (_round_up(largest * 1.05) for largest in (max(row[0] for row in sizes), max(row[1] for row in sizes)))
    most = max(row[3] for row in sizes)

    def across(value: float) -> float:
        return _MARGIN + value / right * (_WIDTH - _MARGIN - 16)

    def down(value: float) -> float:
        return _HEIGHT - _MARGIN - value / top * (_HEIGHT - _MARGIN - 16)

    coloured = len(classes) <= len(CLASS_COLOURS)
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = across(right * share), down(top * share)
        parts.append(f'<line class="axis" x1="{x:.0f}" y1="{down(0):.0f}" x2="{x:.0f}" y2="{down(top):.0f}"/>')
        parts.append(f'<line class="axis" x1="{across(0):.0f}" y1="{y:.0f}" x2="{across(right):.0f}" y2="{y:.0f}"/>')
        parts.append(f'<text x="{x:.0f}" y="{down(0) + 16:.0f}" text-anchor="middle">{right * share:.0f}</text>')
        parts.append(f'<text x="{across(0) - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{top * share:.0f}</text>')
    parts.append(f'<text x="{across(right / 2):.0f}" y="{_HEIGHT - 8}" text-anchor="middle">width in pixels</text>')
    parts.append(
        f'<text transform="translate(12 {down(top / 2):.0f}) rotate(-90)" text-anchor="middle">height in pixels</text>'
    )
    if image_size <= min(right, top):
        x, y = across(image_size), down(image_size)
        parts.append(f'<path class="input" d="M{across(0):.0f} {y:.0f}H{x:.0f}V{down(0):.0f}"/>')
        parts.append(f'<text x="{x - 5:.0f}" y="{y + 15:.0f}" text-anchor="end">input of the network</text>')
    for width, height, name, number in sizes[:_MOST_CIRCLES]:
        radius = max(2.5, 18 * math.sqrt(number / most))
        colour = CLASS_COLOURS[list(classes).index(name) if coloured and name in classes else 0]
        parts.append(
            f'<circle cx="{across(width):.1f}" cy="{down(height):.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".35" '
            f'stroke="{colour}"><title>{escape(f"{width} x {height}: {number} {name}".rstrip())}</title></circle>'
        )
    legend = "".join(
        f'<span class="key" style="background:{colour}"></span>{escape(name)}'
        for name, colour in zip(classes, CLASS_COLOURS, strict=False)
        if coloured
    )
    label = "Width against height of all images"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<p class="quiet">One circle for each size{" and class" if coloured and classes else ""}; its area is the number of '
        f"images.{legend}</p>"
    )


def _round_up(value: float) -> int:
    """The next number whose quarters are round.

    Example:
        >>> _round_up(672), _round_up(1219), _round_up(4500)
        (800, 1600, 6000)
    """
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(math.ceil(step * power) for step in (1, 1.6, 2, 3, 4, 6, 8, 10) if step * power >= value)
