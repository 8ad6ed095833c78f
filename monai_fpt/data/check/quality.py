"""Findings on pixels and sizes: images of one value, blown out, dark, mixed, tiny or long.

What is alarming depends on the kind of image. Decisions:

* Large **black** areas are the background of medical images and say nothing, unless nearly everything is black.
* **White** at its very limit is suspicious: values were cut off by exposure or by a window. It is told where a fifth of an image is white, unless the
  white lies around the image: then it is a background (histology, scans of films), and only told where the other images have
  none, for then an inverted image is the likelier reason.
* An image is told once, by its worst finding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from monai_fpt.data.check.finding import CheckedImage, FPTDataFinding, counted, having, percent, sections_told

__all__ = ["find_bad_pixels", "find_mixed_kinds", "find_unusual_sizes"]

# severity, check, sentence, whether an image is of that kind, what is said of it
_Kind: TypeAlias = tuple[str, str, str, Callable[[CheckedImage], bool], Callable[[CheckedImage], str]]

_NEARLY_ALL = 0.98
_MUCH_WHITE = 0.2
_WHITE_RIM = 0.5  # of the rim: the white is a background
_USUAL = 0.2  # share of the set: a white background is usual in it
_DARK = 0.25
_FLAT = 0.1
_LONGEST = 3.0


def find_bad_pixels(images: Sequence[CheckedImage]) -> list[FPTDataFinding]:
    """Images whose values cannot teach much.

    Args:
        images: the readable images.
    """
    on_white = [image for image in images if _has_white_background(image)]
    white_is_usual = len(on_white) >= _USUAL * len(images)
    kinds: list[_Kind] = [
        (
            "error",
            "constant",
            "{images} one single value ({sections}); take them out of the list, or export them again.",
            lambda image: image.probe.constant,
            lambda image: f"everywhere {_grey(image):.2f} of 1",
        ),
        (
            "warning",
            "nearly_blank",
            "{images} 98 % or more of their pixels at exactly black or exactly white ({sections}); look at them.",
            lambda image: max(image.probe.black, image.probe.white) >= _NEARLY_ALL,
            lambda image: f"black {percent(image.probe.black, 1)}, white {percent(image.probe.white, 1)}",
        ),
        (
            "warning",
            "clipped",
            "{images} a fifth or more of their pixels cut off at white ({sections}): overexposed, or a wrong "
            "window; export them again, or set the window.",
            lambda image: image.probe.white >= _MUCH_WHITE and not _has_white_background(image),
            lambda image: f"white {percent(image.probe.white)}",
        ),
        (
            "warning",
            "white_background",
            "{images} a white background, unlike the others ({sections}): overexposed, inverted, or a scan with white margins; "
            "look at them.",
            lambda image: _has_white_background(image) and not white_is_usual,
            lambda image: f"white {percent(image.probe.white)}",
        ),
        (
            "note",
            "unused_bits",
            "{images} more bits stored than used ({sections}), which leaves them dark; scale them to the full "
            "range, all by the same factor.",
            lambda image: image.probe.facts.bits > 8 and image.probe.largest <= _DARK,
            lambda image: f"{_used_bits(image)} of {image.probe.facts.bits} bits used",
        ),
        (
            "note",
            "dark",
            "{images} 99.5 % of all pixels below a quarter of white ({sections}); look at them.",
            lambda image: image.probe.high < _DARK,
            lambda image: f"values up to {image.probe.high:.2f} of 1",
        ),
        (
            "note",
            "flat",
            "{images} hardly any contrast, nearly all values within a tenth of the range ({sections}); look at them.",
            lambda image: image.probe.high - image.probe.low < _FLAT,
            lambda image: f"values {image.probe.low:.2f} to {image.probe.high:.2f} of 1",
        ),
    ]
    findings, left = [], list(images)
    for severity, check, text, holds, remark in kinds:
        found = [image for image in left if holds(image)]
        left = [image for image in left if not holds(image)]
        if found:
            text = text.format(images=having(len(found), "image"), sections=sections_told(found))
            remarks = {image.key: remark(image) for image in found}
            findings.append(FPTDataFinding(severity, check, text, tuple(remarks), remarks=remarks))
    return findings


def find_mixed_kinds(images: Sequence[CheckedImage]) -> list[FPTDataFinding]:
    """Sets in which bit depths, or grey and colour, are mixed.

    Args:
        images: the readable images.
    """
    images = [image for image in images if not image.probe.constant]
    bits = {image.key: f"{image.probe.facts.bits} bits" for image in images}
    colour = {image.key: "colour" if image.probe.colour else "grey" for image in images}
    return [
        *_mixed("mixed_bits", bits, "Bits stored a sample differ ({kinds}); make sure that all are on the same scale."),
        *_mixed(
            "mixed_colour",
            colour,
            "Grey images and colour images are mixed ({kinds}); look whether the rarer kind belongs here.",
        ),
    ]


def _mixed(check: str, kind_of: Mapping[str, str], text: str) -> list[FPTDataFinding]:
    """A note with the images of all kinds but the most frequent, where there are several."""
    kinds = Counter(kind_of.values()).most_common()
    if len(kinds) < 2:
        return []
    rarer = {key: kind for key, kind in kind_of.items() if kind != kinds[0][0]}
    told = ", ".join(f"{kind}: {counted(number, 'image')}" for kind, number in kinds)
    return [FPTDataFinding("note", check, text.format(kinds=told), tuple(rarer), remarks=rarer)]


def find_unusual_sizes(images: Sequence[CheckedImage], image_size: int) -> list[FPTDataFinding]:
    """Images smaller than the network's input, and images much longer than wide or wider than long.

    Args:
        images: the readable images.
        image_size: side of the square input in pixels.
    """
    sizes = {image.key: (image.probe.facts.width, image.probe.facts.height) for image in images}
    small = {key: f"{w} x {h}" for key, (w, h) in sizes.items() if max(w, h) < image_size}
    long = {key: f"{w} x {h}" for key, (w, h) in sizes.items() if max(w, h) > _LONGEST * min(w, h)}
    findings = []
    if small:
        text = (
            f"{len(small):,} of {counted(len(images), 'image')} {'has' if len(small) == 1 else 'have'} both sides below the {image_size} "
            "pixels of the network's input and will be enlarged without gaining detail; choose a smaller --image_size, or larger images."
        )
        findings.append(FPTDataFinding("note", "small", text, tuple(small), remarks=small))
    if long:
        text = (
            f"{having(len(long), 'image')} one side more than {_LONGEST:.0f} times the other and will be squeezed to a square; "
            "crop or pad them first."
        )
        findings.append(FPTDataFinding("note", "long", text, tuple(long), remarks=long))
    return findings


def _has_white_background(image: CheckedImage) -> bool:
    return image.probe.white >= _MUCH_WHITE and image.probe.white_rim >= _WHITE_RIM


def _grey(image: CheckedImage) -> float:
    return sum(image.probe.mean) / 3


def _used_bits(image: CheckedImage) -> int:
    """Bits that the largest value needs."""
    largest = round(image.probe.largest * (2**image.probe.facts.bits - 1))
    return max(1, math.ceil(math.log2(largest + 1)))
