"""All breasts face one way: the chest wall on the left of the image, the nipple on the right.

Hung as usual, a left breast has its chest wall on the left already and a right breast is mirrored. The side is taken
from the data list's item, else from the file's own metadata (DICOM Image Laterality); two answers that differ are an
error, since one of them is wrong and a mirrored image cannot be told from a right one. Where neither knows, the brighter
half may decide, if that is allowed. What was done is written into the MetaTensor's metadata (``laterality_flip``) and
its trace, and an image that has such a note is not mirrored again. MONAI's ``Flip`` mirrors every image.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Flip, InvertibleTransform
from monai.utils import TraceKeys, TransformBackends

from monai_fpt.transforms._each_key import FPTEachKeyInverted
from monai_fpt.transforms._pixels import ImageLike, file_of, grey_plane, like_input, unit_image

__all__ = [
    "FPTLateralityFlip",
    "FPTLateralityFlipD",
    "FPTLateralityFlipDict",
    "FPTLateralityFlipd",
    "FlipDecision",
]

_NOTE = "laterality_flip"
_SIDES = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}
_UNKNOWN = {"", "B", "U", "NAN", "NONE"}
_CLEAR = 0.05  # the halves' means differ by this share of their sum where one is clearly brighter
_CERTAIN = 0.3  # and by this share where the laterality given is to be doubted


class FlipDecision(NamedTuple):
    """Whether an image is mirrored, and why: ``laterality L``, ``bright side``, ``undecided``, ``done before``."""

    mirror: bool
    why: str


class FPTLateralityFlip(InvertibleTransform):  # type: ignore[misc]
    """Mirror right breasts, so that every chest wall is on the left of the image.

    Args:
        unknown: what is done where the laterality is not known: ``"error"``, or ``"bright_side"``: mirror the image if
            its right half is the brighter one, and leave it, with a warning, where the halves are alike.

    Raises:
        ValueError: another value of ``unknown``.

    Example:
        >>> FPTLateralityFlip()(torch.tensor([[[0.0, 0.2, 0.9]]]), laterality="R").tolist()
        [[[0.8999999761581421, 0.20000000298023224, 0.0]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 - MONAI declares it so

    def __init__(self, unknown: str = "error") -> None:
        if unknown not in ("error", "bright_side"):
            raise ValueError(f"FPTLateralityFlip: unknown is {unknown!r}; choose 'error' or 'bright_side'.")
        self.unknown = unknown
        self.flipper = Flip(spatial_axis=1)  # columns of (C, H, W)

    def decide(self, img: ImageLike, laterality: Any = None) -> FlipDecision:
        """Whether an image is to be mirrored.

        Args:
            img: (C, H, W), C 1 or 3, in [0, 1] or uint8.
            laterality: ``L``, ``R``, ``left`` or ``right``; unknown where None, empty, ``B`` or ``U``.

        Raises:
            TypeError: the image is of an integer type other than uint8.
            ValueError: the laterality is another word, differs from the file's own, or is unknown where that is an error;
                or the image has another shape or values outside [0, 1].
        """
        meta = img.meta if isinstance(img, MetaTensor) else {}
        if _NOTE in meta:
            return FlipDecision(False, "done before")
        given, own = _side(laterality, img), _side(meta.get("laterality"), img)
        if given and own and given != own:
            raise ValueError(
                f"FPTLateralityFlip: the data list says laterality {given} and the file{file_of(img)} says {own}; correct "
                "the one that is wrong."
            )
        side = given or own
        excess = _right_excess(img)
        if not side and self.unknown == "error":
            raise ValueError(
                f"FPTLateralityFlip: the laterality of the image{file_of(img)} is not known; give it in the data list, or "
                "set unknown to 'bright_side'."
            )
        if not side and abs(excess) < _CLEAR:
            warnings.warn(
                f"FPTLateralityFlip: the laterality of the image{file_of(img)} is not known and its halves are equally "
                "bright, so it is not mirrored; give its laterality in the data list.",
                stacklevel=2,
            )
            return FlipDecision(False, "undecided")
        if not side:
            return FlipDecision(excess > 0, "bright side")
        if (excess if side == "L" else -excess) > _CERTAIN:
            warnings.warn(
                f"FPTLateralityFlip: the laterality of the image{file_of(img)} is {side}, but its bright half is on the "
                "other side; look whether the file is mirrored already.",
                stacklevel=2,
            )
        return FlipDecision(side == "R", f"laterality {side}")

    def __call__(self, img: ImageLike, laterality: Any = None, decision: FlipDecision | None = None) -> Any:
        """Mirror one image, or leave it.

        Args:
            img: (C, H, W), in [0, 1] or uint8 where it decides, of any kind where ``decision`` is given.
            laterality: see :meth:`decide`; a MetaTensor's metadata ``laterality`` is asked, too.
            decision: from :meth:`decide`; sought where absent.

        Returns:
            the image, of the input's kind and type.

        Raises:
            TypeError: see :meth:`decide`.
            ValueError: likewise.
        """
        done = self.decide(img, laterality) if decision is None else decision
        if not isinstance(img, MetaTensor):
            if not done.mirror:
                return img
            return torch.flip(img, (2,)) if isinstance(img, torch.Tensor) else img[:, :, ::-1].copy()
        image = MetaTensor(img.as_tensor()).copy_meta_from(img)  # the pixels are shared, the metadata are not
        if done.mirror:
            with self.flipper.trace_transform(False):  # it moves the affine; the record is ours
                image = self.flipper(image)
        image.meta.setdefault(_NOTE, ("mirrored, " if done.mirror else "not mirrored, ") + done.why)
        self.push_transform(image, extra_info={"mirrored": done.mirror, "why": done.why})
        return like_input(image, img)

    def inverse(self, data: Any) -> Any:
        """Mirror back where the image was mirrored."""
        record = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        if record["mirrored"]:
            with self.flipper.trace_transform(False):
                data = self.flipper(data)
        if record["why"] != "done before":
            data.meta.pop(_NOTE, None)
        return data


def _side(laterality: Any, img: ImageLike) -> str:
    """``L``, ``R``, or empty where it is not known."""
    word = "" if laterality is None else str(laterality).strip().upper()
    if word in _UNKNOWN:
        return ""
    if word not in _SIDES:
        raise ValueError(
            f"FPTLateralityFlip: the laterality of the image{file_of(img)} is {laterality!r}; write L or R, or leave it "
            "empty."
        )
    return _SIDES[word]


def _right_excess(img: ImageLike) -> float:
    """Mean of the right half less mean of the left, over their sum; 0 where the image is black."""
    grey = grey_plane(unit_image(img, "FPTLateralityFlip"))
    half = grey.shape[1] // 2
    left, right = float(grey[:, :half].double().sum()), float(grey[:, grey.shape[1] - half :].double().sum())
    return (right - left) / (right + left) if right + left > 0 else 0.0


class FPTLateralityFlipd(FPTEachKeyInverted):
    """Dictionary version of :class:`FPTLateralityFlip`; one decision for all keys.

    Args:
        keys: keys of the images and masks, of one height and width.
        source_key: key of the image that decides; the first of ``keys`` where absent.
        laterality_key: key of the laterality in the item; an item need not have it.
        unknown: ``"error"`` or ``"bright_side"``.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: Hashable | None = None,
        laterality_key: Hashable = "laterality",
        unknown: str = "error",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FPTLateralityFlip(unknown), allow_missing_keys)
        self.source_key = source_key
        self.laterality_key = laterality_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mirror the images of one item, or leave them; the other entries are passed on.

        Raises:
            KeyError: the deciding image is absent.
            ValueError: see :meth:`FPTLateralityFlip.decide`; or the images differ in height or width.
        """
        item = dict(data)
        source = self.source_of(item, self.source_key)
        if source is not None:
            decision = self.transform.decide(item[source], item.get(self.laterality_key))
            for key in self.key_iterator(item):
                item[key] = self.transform(item[key], decision=decision)
        return item


FPTLateralityFlipD = FPTLateralityFlipDict = FPTLateralityFlipd
