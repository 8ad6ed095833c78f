"""Maps as pictures: a coloured map, an overlay on the image, and crops of the image around the strongest tokens.

Decisions:

- The image is the one that was stretched to the square: what the model's preparing transforms made of the file (a crop of
  the breast or of the fundus, for instance). The map of a cropped image laid over the uncropped one would point at the
  wrong places, and no size betrays it.
- Opacity grows with the heat, a little faster at first, so that weak places can be seen and the image stays untouched
  where nothing spoke for the class. Colours are matplotlib's
  perceptually uniform ones: equal steps of heat look equally large, also in grey and to the colour-blind.
- Patches are cut from the image at its own resolution, not from what the network read, with surroundings, for a single
  token of 16 pixels shows a reader nothing.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_fpt.visualize.grid import resize_heat, token_box

__all__ = ["FPTPatch", "colour_heat", "overlay", "top_patches"]

ImageLike = Image.Image | NDArray[Any] | Tensor

_UNIFORM = ("viridis", "plasma", "inferno", "magma", "cividis")


@dataclasses.dataclass(frozen=True)
class FPTPatch:
    """A crop of the image around a strong token.

    Attributes:
        picture: the crop, RGB, pixel by pixel as in the image.
        box: left, top, right, bottom of the crop in pixels of the image.
        token: row and column of the token.
        heat: of the token, in [0, 1].
    """

    picture: Image.Image
    box: tuple[int, int, int, int]
    token: tuple[int, int]
    heat: float


def colour_heat(heat: Tensor, size: tuple[int, int] | None = None, colours: str = "viridis") -> Image.Image:
    """A map in colours, without legend or axes.

    Args:
        heat: (rows, columns) in [0, 1].
        size: height and width of the picture in pixels; None gives 1 pixel a token.
        colours: one of matplotlib's perceptually uniform colour maps.

    Raises:
        ValueError: not one map, values outside [0, 1], or other colours.
    """
    shown = _checked_heat(heat)
    return Image.fromarray(_coloured(shown if size is None else resize_heat(shown, size), colours))


def overlay(
    image: ImageLike, heat: Tensor, opacity: float = 0.75, colours: str = "viridis", smooth: bool = True
) -> Image.Image:
    """The image with a map over it, at the image's own resolution.

    Args:
        image: the image that was stretched to the square, before it was (or after): PIL, (H, W[, 3]) uint8 array, or
            (1 or 3, H, W) tensor, uint8 or in [0, 1].
        heat: (rows, columns) in [0, 1], for example ``maps.heat()[0, 0]``.
        opacity: of the map where it is 1.
        colours: one of matplotlib's perceptually uniform colour maps.
        smooth: between the centres of tokens; False shows each token as its box.

    Raises:
        ValueError: an image or a map of another kind, or opacity outside [0, 1].

    Example:
        >>> overlay(np.zeros((60, 80), np.uint8), torch.eye(4)).size
        (80, 60)
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity={opacity} lies outside [0, 1]; give the share of the map where it is strongest.")
    pixels = np.asarray(_rgb(image), np.float32)
    shown = resize_heat(_checked_heat(heat), pixels.shape[:2], smooth)
    weight = opacity * shown.numpy()[..., None] ** 0.75
    blended = pixels * (1 - weight) + _coloured(shown, colours) * weight
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def top_patches(image: ImageLike, heat: Tensor, count: int = 6, surroundings: float = 1.0) -> list[FPTPatch]:
    """Crops around the strongest tokens, strongest first.

    A token that lies in a crop already taken is passed over, so that crops show different places.

    Args:
        image: as of :func:`overlay`.
        heat: (rows, columns) in [0, 1].
        count: at most so many; fewer where fewer tokens are above 0.
        surroundings: how many sides of a token are shown around it, in each direction; cut off at the image's border.

    Raises:
        ValueError: an image or a map of another kind, or a count or surroundings below what makes sense.
    """
    if count < 1 or surroundings < 0:
        raise ValueError(f"count={count} must be at least 1 and surroundings={surroundings} at least 0.")
    picture, values = _rgb(image), _checked_heat(heat)
    width, height = picture.size
    grid = (values.shape[0], values.shape[1])
    patches: list[FPTPatch] = []
    for place in values.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(place, grid[1])
        if len(patches) == count or values[row, column] <= 0:
            break
        left, top, right, bottom = token_box(row, column, grid, (height, width))
        centre = ((left + right) / 2, (top + bottom) / 2)
        if any(p.box[0] <= centre[0] < p.box[2] and p.box[1] <= centre[1] < p.box[3] for p in patches):
            continue
        x, y = surroundings * (right - left), surroundings * (bottom - top)
        box = (
            max(0, math.floor(left - x)),
            max(0, math.floor(top - y)),
            min(width, math.ceil(right + x)),
            min(height, math.ceil(bottom + y)),
        )
        patches.append(FPTPatch(picture.crop(box), box, (row, column), float(values[row, column])))
    return patches


def _coloured(heat: Tensor, colours: str) -> NDArray[np.uint8]:
    """(H, W) in [0, 1] -> (H, W, 3)."""
    from matplotlib import colormaps  # takes a moment to import, and only pictures need it

    if colours not in _UNIFORM:
        raise ValueError(f"colours={colours!r} is not perceptually uniform; use one of {', '.join(_UNIFORM)}.")
    table: NDArray[np.uint8] = colormaps[colours](heat.numpy(), bytes=True)[..., :3]
    return table


def _checked_heat(heat: Tensor) -> Tensor:
    """(rows, columns) float32 on the CPU."""
    values = torch.as_tensor(heat).detach().float().cpu()
    if values.ndim != 2:
        raise ValueError(
            f"heat of shape {tuple(values.shape)} is not one map (rows, columns); choose image and class, as in heat[0, 0]."
        )
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError(
            f"heat runs from {values.min():.3g} to {values.max():.3g}, outside [0, 1]; give heat(), not evidence()."
        )
    return values


def _rgb(image: ImageLike) -> Image.Image:
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L"):
            raise ValueError(f'The image has the mode {image.mode}; convert it to "RGB" or "L" as the reader does.')
        return image.convert("RGB")
    if isinstance(image, Tensor):
        plain = image.detach().as_subclass(Tensor).cpu()
        if (
            plain.ndim != 3
            or plain.shape[0] not in (1, 3)
            or not (plain.is_floating_point() or plain.dtype == torch.uint8)
        ):
            raise ValueError(
                f"The image is a tensor of {plain.dtype} and shape {tuple(plain.shape)}, expected floats or uint8 (1 or 3, H, W)."
            )
        if plain.is_floating_point():
            if not bool(((plain >= -1e-3) & (plain <= 1 + 1e-3)).all()):
                raise ValueError(
                    f"The image runs from {plain.min():.3g} to {plain.max():.3g}, expected [0, 1]; give it before normalisation."
                )
            plain = plain.float().clamp(0, 1).mul(255).round().byte()
        return _rgb(plain.permute(1, 2, 0).squeeze(-1).numpy())
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(
            f"The image is an array of {image.dtype} and shape {image.shape}, expected uint8 (H, W) or (H, W, 3)."
        )
    return Image.fromarray(image).convert("RGB")
