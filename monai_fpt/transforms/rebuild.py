"""Transforms from plain JSON, such as a trained model's card carries, without ever running what a card says.

MONAI's ``ConfigParser`` evaluates every string that begins with ``$`` and calls any dotted name. A model card comes from
elsewhere, so here a name must stand in a list: the deterministic transforms of this package and those of MONAI that
compute on pixels and nothing else. Not in it are ``Lambda`` and the like (they call what they are given),
``TorchVision`` (it looks names up elsewhere), loaders, savers and all that touch files, and random transforms, which
have no place in a preprocessing that must be the same everywhere.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["fpt_transforms"]

_OURS = [
    "FPTBenGraham",
    "FPTBreastCrop",
    "FPTCircleMask",
    "FPTClahe",
    "FPTFundusCrop",
    "FPTGreyToRGB",
    "FPTLateralityFlip",
    "FPTNormalize",
    "FPTPercentileScale",
    "FPTResize",
    "FPTResizePad",
    "FPTShadesOfGray",
    "FPTWindow",
]
_MONAIS = [
    "AdjustContrast",
    "AsDiscrete",
    "BorderPad",
    "CastToType",
    "CenterScaleCrop",
    "CenterSpatialCrop",
    "ClipIntensityPercentiles",
    "CropForeground",
    "DivisiblePad",
    "EnsureChannelFirst",
    "EnsureType",
    "FillHoles",
    "Flip",
    "ForegroundMask",
    "GaussianSharpen",
    "GaussianSmooth",
    "HistogramNormalize",
    "Identity",
    "KeepLargestConnectedComponent",
    "MaskIntensity",
    "MedianSmooth",
    "NormalizeIntensity",
    "Orientation",
    "Pad",
    "RepeatChannel",
    "Resize",
    "ResizeWithPadOrCrop",
    "Rotate",
    "Rotate90",
    "SavitzkyGolaySmooth",
    "ScaleIntensity",
    "ScaleIntensityRange",
    "ScaleIntensityRangePercentiles",
    "ShiftIntensity",
    "Spacing",
    "SpatialCrop",
    "SpatialPad",
    "SplitDim",
    "SqueezeDim",
    "StdShiftIntensity",
    "ThresholdIntensity",
    "ToTensor",
    "Transpose",
    "Zoom",
]
_WITHOUT_PAIR = ("Compose", "ConcatItemsd", "CopyItemsd", "DeleteItemsd", "SelectItemsd")
_SUFFIXES = ("", "d", "D", "Dict")
_ALLOWED: dict[str, frozenset[str]] = {
    "monai_fpt.transforms": frozenset(name + suffix for name in _OURS for suffix in _SUFFIXES),
    "monai.transforms": frozenset(name + suffix for name in _MONAIS for suffix in _SUFFIXES) | set(_WITHOUT_PAIR),
}


def fpt_transforms(entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Make transforms of a JSON list of MONAI configuration entries.

    Args:
        entries: each ``{"_target_": "monai_fpt.transforms.FPTFundusCropd", "keys": "image"}``: the dotted name of an
            allowed transform and its arguments, which are plain JSON or entries of the same kind.

    Returns:
        the transforms, in order.

    Raises:
        ValueError: an entry of another form, a name that is not allowed, an expression, a reference, or arguments that
            the transform does not take; the text names the entry.

    Example:
        >>> fpt_transforms([{"_target_": "monai.transforms.Flipd", "keys": "image", "spatial_axis": 1}])[0].keys
        ('image',)
        >>> fpt_transforms([{"_target_": "monai.transforms.Lambdad", "keys": "image", "func": "$exit"}])
        Traceback (most recent call last):
        ...
        ValueError: transforms[0]: 'monai.transforms.Lambdad' is not allowed in a model's preprocessing; ...
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise ValueError(f"transforms: {type(entries).__name__} found; give a list of entries with _target_.")
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or "_target_" not in entry:
            raise ValueError(
                f"transforms[{number}]: no _target_; give the dotted name of a transform and its arguments."
            )
    return [_built(entry, f"transforms[{number}]") for number, entry in enumerate(entries)]


def _built(value: Any, where: str) -> Any:
    """Plain JSON as it is, an entry as its transform."""
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise ValueError(f"{where}: {value!r} is an expression or a reference; write the plain value.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_built(each, f"{where}[{number}]") for number, each in enumerate(value)]
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where}: {type(value).__name__} is no plain JSON; write numbers, text, lists or entries.")
    special = sorted(name for name in value if name[:1] in ("_", "$", "@", "%") and name != "_target_")
    if special:
        raise ValueError(f"{where}: {special} are not plain arguments; remove them.")
    made = _allowed(value["_target_"], where) if "_target_" in value else None
    arguments = {name: _built(each, f"{where}.{name}") for name, each in value.items() if name != "_target_"}
    if made is None:
        return arguments
    try:
        inspect.signature(made).bind(**arguments)
        return made(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{where}: {value['_target_']} cannot be made: {error}; correct its arguments.") from error


def _allowed(target: Any, where: str) -> Any:
    """The class that an allowed name stands for."""
    room, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if name not in _ALLOWED.get(room, ()):
        raise ValueError(
            f"{where}: {target!r} is not allowed in a model's preprocessing; use a transform of monai_fpt.transforms, or "
            "a deterministic one of monai.transforms that reads no file and calls no function."
        )
    return getattr(importlib.import_module(room), name)
