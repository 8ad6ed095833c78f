"""The three image transforms of fine-grained prompt tuning that MONAI lacks, on arrays.

All take one image (C, H, W), a plain tensor or a MetaTensor, and give float32 of the same kind. Decisions:

* ``FPTResize`` does not keep the aspect: backbone and side network read squares, as in the paper. It is the
  antialiased bilinear resize of torch, also for the crops below, so "no augmentation" and "test" are the same numbers.
* ``RandFPTSideAugment`` works on the thumbnail, not on the full image: flips and quarter turns, then brightness, then
  contrast, then crop. The jitters are torchvision's, the crop's geometry follows torchvision's ``RandomResizedCrop``;
  randomness is MONAI's (``set_random_state``), which makes a run repeatable in data loader workers.
* uint8 means 0..255 and is brought to [0, 1] first; every other image is taken to be in [0, 1] already, and
  ``FPTNormalize`` refuses one that is not, since a picture normalised twice or not scaled at all trains silently to
  nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.transforms import RandomizableTransform, Transform
from monai.utils import TransformBackends
from torchvision.transforms.v2 import functional as pixel_ops

from monai_fpt.transforms._pixels import float_image, like_input, positive_size, with_spacing

__all__ = ["FPTNormalize", "FPTResize", "RandFPTSideAugment", "SideAugmentDraw"]

_CROP_TRIES = 10  # as torchvision


class FPTResize(Transform):  # type: ignore[misc]
    """Resize to a square, antialiased and bilinear; the aspect is not kept.

    Args:
        size: side of the result in pixels.

    Raises:
        ValueError: the size is not a positive whole number.

    Example:
        >>> FPTResize(128)(torch.zeros(3, 600, 800, dtype=torch.uint8)).shape
        torch.Size([3, 128, 128])
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, size: int) -> None:
        self.size = positive_size(size, "FPTResize")

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Resize one image.

        Args:
            img: (C, H, W), uint8 or floating point.

        Returns:
            float32 (C, size, size); uint8 becomes [0, 1].

        Raises:
            TypeError: the image is no tensor, or of another integer type.
            ValueError: the image has not three dimensions.
        """
        image = float_image(img, "FPTResize")
        resized: torch.Tensor = like_input(_square_resize(image, self.size), img)
        return with_spacing(resized, image.shape[1] / self.size, image.shape[2] / self.size)


class FPTNormalize(Transform):  # type: ignore[misc]
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Args:
        mean: one value a channel, on the scale [0, 1].
        std: likewise, above 0.

    Raises:
        ValueError: the lengths differ, or a standard deviation is not positive.

    Example:
        >>> FPTNormalize([0.5], [0.25])(torch.ones(1, 1, 1)).item()
        2.0
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012
    tolerance = 1e-3  # interpolation may step over the ends by rounding

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(
                f"FPTNormalize: mean {list(mean)} and std {list(std)} must have one value a channel and std above 0; "
                "correct them."
            )
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Normalise one image.

        Args:
            img: (C, H, W), floating point in [0, 1].

        Returns:
            float32 (C, H, W).

        Raises:
            TypeError: the image is no tensor or not of floating point.
            ValueError: values outside [0, 1], or another number of channels than ``mean``.
        """
        if isinstance(img, torch.Tensor) and not img.is_floating_point():
            raise TypeError(f"FPTNormalize: the image is {img.dtype}, expected floats; apply FPTResize first.")
        image = float_image(img, "FPTNormalize")
        if image.shape[0] != len(self.mean):
            raise ValueError(
                f"FPTNormalize: the image has {image.shape[0]} channels and mean has {len(self.mean)}; make them agree."
            )
        low, high = (float(value) for value in torch.aminmax(image))
        if not (low >= -self.tolerance and high <= 1 + self.tolerance):  # so worded, NaN is refused too
            raise ValueError(
                f"FPTNormalize: the image's values run from {low:.4g} to {high:.4g}, outside [0, 1]; it is not "
                "scaled or "
                "already normalised: normalise once, after loading."
            )
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        normalized: torch.Tensor = like_input((image - mean) / std, img)
        return normalized


@dataclass(frozen=True)
class SideAugmentDraw:
    """What one call of :class:`RandFPTSideAugment` does: flips and quarter turns, two factors, and the crop in pixels of
    the turned image."""

    flip: bool
    brightness: float
    contrast: float
    top: int
    left: int
    height: int
    width: int
    vertical_flip: bool = False
    quarter_turns: int = 0


class RandFPTSideAugment(RandomizableTransform):  # type: ignore[misc]
    """The paper's augmentation of the side network's image: flip, brightness, contrast, random resized crop; and, where
    an image has no up and down, vertical flips and quarter turns.

    Args:
        size: side of the result in pixels.
        flip_prob: probability of a horizontal flip; 0 where left and right have a meaning, as in chest X-rays.
        brightness: the factor is uniform in [1 - brightness, 1 + brightness].
        contrast: likewise, about the mean of the grey image.
        scale: range of the crop's share of the area, uniform.
        ratio: range of the crop's width over height, log-uniform.
        vertical_flip_prob: probability of a vertical flip; drawn only where it is above 0, so that runs without it keep
            their numbers.
        rotate_prob: probability of a turn by 90, 180 or 270 degrees; likewise. 0.75 makes all four positions alike.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> augment = RandFPTSideAugment(128)
        >>> _ = augment.set_random_state(seed=0)
        >>> augment(torch.zeros(3, 160, 160)).shape
        torch.Size([3, 128, 128])
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        size: int,
        flip_prob: float = 0.5,
        brightness: float = 0.2,
        contrast: float = 0.2,
        scale: tuple[float, float] = (0.8, 1.0),
        ratio: tuple[float, float] = (0.7, 1.3),
        vertical_flip_prob: float = 0.0,
        rotate_prob: float = 0.0,
    ) -> None:
        super().__init__(prob=1.0)
        self.size = positive_size(size, "RandFPTSideAugment")
        chances = {"flip_prob": flip_prob, "vertical_flip_prob": vertical_flip_prob, "rotate_prob": rotate_prob}
        for name, chance in chances.items():
            if isinstance(chance, bool) or not 0 <= chance <= 1:
                raise ValueError(f"RandFPTSideAugment: {name} is {chance}, not a probability; choose 0 to 1.")
        if brightness < 0 or contrast < 0:
            raise ValueError(
                f"RandFPTSideAugment: brightness {brightness} and contrast {contrast} must not be negative; choose "
                "0 for none."
            )
        if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                f"RandFPTSideAugment: scale {tuple(scale)} must rise within (0, 1] and ratio {tuple(ratio)} above 0; "
                "choose for example (0.8, 1.0) and (0.7, 1.3)."
            )
        self.flip_prob = flip_prob
        self.vertical_flip_prob = vertical_flip_prob
        self.rotate_prob = rotate_prob
        self.brightness = brightness
        self.contrast = contrast
        self.scale = (float(scale[0]), float(scale[1]))
        self.ratio = (float(ratio[0]), float(ratio[1]))

    def randomize(self, data: torch.Size) -> SideAugmentDraw:
        """Draw what is done to an image of shape ``data`` (C, H, W)."""
        flip = bool(self.R.random_sample() < self.flip_prob)
        brightness = float(self.R.uniform(max(0.0, 1 - self.brightness), 1 + self.brightness))
        contrast = float(self.R.uniform(max(0.0, 1 - self.contrast), 1 + self.contrast))
        vertical = self.vertical_flip_prob > 0 and bool(self.R.random_sample() < self.vertical_flip_prob)
        turned = self.rotate_prob > 0 and bool(self.R.random_sample() < self.rotate_prob)
        turns = int(self.R.randint(1, 4)) if turned else 0
        height, width = (data[2], data[1]) if turns % 2 else (data[1], data[2])
        return SideAugmentDraw(flip, brightness, contrast, *self._draw_crop(height, width), vertical, turns)

    def _draw_crop(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop: ten tries of a drawn area and aspect, then the largest centre crop."""
        for _ in range(_CROP_TRIES):
            area = height * width * self.R.uniform(*self.scale)
            aspect = math.exp(self.R.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top = int(self.R.randint(0, height - crop_height + 1))
                left = int(self.R.randint(0, width - crop_width + 1))
                return top, left, crop_height, crop_width
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width = min(width, max(1, round(height * aspect)))
        crop_height = min(height, max(1, round(width / aspect)))
        return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width

    def __call__(self, img: torch.Tensor, draw: SideAugmentDraw | None = None) -> torch.Tensor:
        """Augment one thumbnail.

        Args:
            img: (3, H, W), or (1, H, W) for grey; uint8, or floating point in [0, 1].
            draw: what to do, from :meth:`randomize`; drawn anew where absent.

        Returns:
            float32 (C, size, size) in [0, 1].

        Raises:
            TypeError: the image is no tensor, or of another integer type.
            ValueError: the image has not three dimensions.
        """
        image = float_image(img, "RandFPTSideAugment")
        done = self.randomize(image.shape) if draw is None else draw
        if done.flip:
            image = pixel_ops.horizontal_flip(image)
        if done.vertical_flip:
            image = pixel_ops.vertical_flip(image)
        if done.quarter_turns:
            image = torch.rot90(image, done.quarter_turns, (1, 2))
        image = pixel_ops.adjust_contrast(pixel_ops.adjust_brightness(image, done.brightness), done.contrast)
        crop = image[:, done.top : done.top + done.height, done.left : done.left + done.width]
        augmented: torch.Tensor = like_input(_square_resize(crop, self.size).clamp(0, 1), img)
        turned = done.quarter_turns % 2
        return with_spacing(augmented, done.height / self.size, done.width / self.size, swapped=bool(turned))


def _square_resize(image: torch.Tensor, size: int) -> torch.Tensor:
    """(C, H, W) to (C, size, size)."""
    return torch.nn.functional.interpolate(
        image[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
