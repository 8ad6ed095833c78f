"""A square image whose aspect is kept: resize the longer side, pad the shorter one.

Backbone and side network read squares. The plain resize (:class:`~monai_fpt.transforms.FPTResize`, as in the paper)
squashes; where shape matters, as for a lesion or a breast, this one does not. It can be undone: position (affine),
pixel spacing and trace are kept. The resize is torch's antialiased bilinear one, the one way images are resized in
this package; MONAI's ``Resize`` with ``size_mode="longest"`` smooths by a Gaussian or averages instead, gives no square,
and leaves the spacing in the metadata as it was. The padding is MONAI's ``SpatialPad``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, SpatialPad
from monai.transforms.utils import scale_affine
from monai.utils import TraceKeys, TransformBackends, ensure_tuple_rep

from monai_fpt.transforms._each_key import FPTEachKeyInverted
from monai_fpt.transforms._pixels import ImageLike, file_of, like_input, positive_size, with_spacing

__all__ = ["FPTResizePad", "FPTResizePadD", "FPTResizePadDict", "FPTResizePadd"]

_MODES = ("bilinear", "nearest")


class FPTResizePad(InvertibleTransform):  # type: ignore[misc]
    """Resize so that the longer side has a given size, and pad the shorter one to a square.

    Args:
        size: side of the result in pixels; None pads to the longer side and resizes nothing, for a resize to follow.
        method: where the padding goes: ``"symmetric"`` on both sides, ``"end"`` below or at the right.
        fill: value of the padding.
        mode: ``"bilinear"``, antialiased, for images; ``"nearest"`` for masks and labels.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> FPTResizePad(128)(torch.zeros(3, 600, 800)).shape
        torch.Size([3, 128, 128])
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(
        self, size: int | None = None, method: str = "symmetric", fill: float = 0.0, mode: str = "bilinear"
    ) -> None:
        self.size = None if size is None else positive_size(size, "FPTResizePad")
        if method not in ("symmetric", "end"):
            raise ValueError(f"FPTResizePad: method is {method!r}; choose 'symmetric' or 'end'.")
        if mode not in _MODES:
            raise ValueError(f"FPTResizePad: mode is {mode!r}; choose one of {_MODES}.")
        self.method = method
        self.fill = float(fill)
        self.mode = mode

    def __call__(self, img: ImageLike) -> Any:
        """Resize and pad one image.

        Args:
            img: (C, H, W) of any range; floating point where it is resized bilinearly.

        Returns:
            (C, size, size) of the input's kind and type.

        Raises:
            TypeError: an image of integers would be resized bilinearly.
            ValueError: the image has not three dimensions, or no pixels.
        """
        image = torch.from_numpy(np.ascontiguousarray(img)) if isinstance(img, np.ndarray) else img
        if image.ndim != 3 or image.numel() == 0:
            raise ValueError(
                f"FPTResizePad: the image has shape {tuple(img.shape)}, expected (C, H, W); give one image."
            )
        height, width = image.shape[1:]
        side = max(height, width) if self.size is None else self.size
        inner = tuple(max(1, round(each * side / max(height, width))) for each in (height, width))
        if inner != (height, width) and self.mode == "bilinear" and not image.is_floating_point():
            raise TypeError(
                f"FPTResizePad: the image{file_of(img)} is {image.dtype}, which cannot be interpolated; choose mode "
                "'nearest' for masks, or convert it to floats in [0, 1]."
            )
        resized = _resized(image, inner, self.mode)
        padder = SpatialPad(side, method=self.method, mode="constant", value=self.fill)
        before = [(side - each) // 2 if self.method == "symmetric" else 0 for each in inner]
        with padder.trace_transform(False):  # it moves the affine; the record is ours
            padded = padder(resized)
        if isinstance(img, MetaTensor):
            extra = {"mode": self.mode, "align_corners": TraceKeys.NONE, "start": before, "inner": list(inner)}
            self.push_transform(padded, orig_size=(height, width), extra_info=extra)
        return like_input(padded, img)

    def inverse(self, data: Any) -> Any:
        """Cut the padding off and resize to the size before; ``nearest`` where ``Invertd`` asks for it."""
        record = self.pop_transform(data)
        extra = record[TraceKeys.EXTRA_INFO]
        (top, left), (height, width) = ([int(each) for each in extra[name]] for name in ("start", "inner"))
        cut = data[:, top : top + height, left : left + width]
        if isinstance(cut, MetaTensor):
            _move(cut, np.array([[1, 0, top], [0, 1, left], [0, 0, 1]], dtype=np.float64))
        mode = "nearest" if extra["mode"] == "nearest" else "bilinear"
        return _resized(cut, tuple(int(each) for each in record[TraceKeys.ORIG_SIZE]), mode)


def _resized(image: torch.Tensor, size: tuple[int, ...], mode: str) -> torch.Tensor:
    """(C, H, W) to (C, *size), with affine and spacing where it has them."""
    before = tuple(image.shape[1:])
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    if before != size and mode == "bilinear":
        plain = torch.nn.functional.interpolate(
            plain[None], size=size, mode="bilinear", align_corners=False, antialias=True
        )[0]
    elif before != size:  # indices, for any type: interpolate knows floats and uint8 only
        rows, columns = (
            torch.div((2 * torch.arange(new) + 1) * old, 2 * new, rounding_mode="floor")
            for old, new in zip(before, size, strict=True)
        )
        plain = plain[:, rows][:, :, columns]
    if not isinstance(image, MetaTensor):
        return plain
    resized: torch.Tensor = MetaTensor(plain.contiguous()).copy_meta_from(image)
    _move(resized, scale_affine(before, size))
    return with_spacing(resized, before[0] / size[0], before[1] / size[1])


def _move(image: Any, affine: Any) -> None:
    """Put an affine (3, 3) of rows and columns before the image's own, in place."""
    step = np.eye(len(image.affine))
    step[:2, :2], step[:2, -1] = affine[:2, :2], affine[:2, -1]
    image.affine = image.affine @ torch.as_tensor(step, dtype=image.affine.dtype, device=image.affine.device)


class FPTResizePadd(FPTEachKeyInverted):
    """Dictionary version of :class:`FPTResizePad`; each key by its own size, all by one rule.

    Args:
        keys: keys of the images and masks.
        size: side of the result in pixels, or None.
        method: where the padding goes.
        fill: value of the padding, one or one a key.
        mode: ``"bilinear"`` or ``"nearest"``, one or one a key.
        allow_missing_keys: skip keys that are absent.

    Example:
        >>> both = {"image": torch.zeros(3, 60, 80), "mask": torch.zeros(1, 60, 80, dtype=torch.uint8)}
        >>> FPTResizePadd(["image", "mask"], 40, mode=["bilinear", "nearest"])(both)["mask"].dtype
        torch.uint8
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int | None = None,
        method: str = "symmetric",
        fill: float | Sequence[float] = 0.0,
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, None, allow_missing_keys)
        fills, modes = (ensure_tuple_rep(each, len(self.keys)) for each in (fill, mode))
        self.transform = tuple(FPTResizePad(size, method, *each) for each in zip(fills, modes, strict=True))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize and pad the images of one item; the other entries are passed on."""
        item = dict(data)
        for key, transform in self.key_iterator(item, self.transform):
            item[key] = transform(item[key])
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo it on each key."""
        item = dict(data)
        for key, transform in self.key_iterator(item, self.transform):
            item[key] = transform.inverse(item[key])
        return item


FPTResizePadD = FPTResizePadDict = FPTResizePadd
