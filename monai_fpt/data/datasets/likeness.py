"""Which images show the same picture, by shrinking them: a picture saved again in another format or size is found.

An image becomes 16 x 16 signs, whether each of 17 x 16 shrunken pixels is brighter than its right neighbour (a
difference hash); images of which at most ``_MOST_DIFFERENT`` signs differ are alike. What differs by less than one grey
level of 255 counts as equal, or black borders would be noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.datasets.grouping import groups_of_pairs
from monai_fpt.data.image import load_medical_image

__all__ = ["groups_of_likeness"]

_MOST_DIFFERENT = 10
_LEVEL = 1 / 255
_LUMA = (0.299, 0.587, 0.114)  # as Pillow makes grey of colour, so that a grey copy is found


def groups_of_likeness(paths: Mapping[str, Path], *, progress: bool = True) -> dict[str, str]:
    """Group of every image, where images that look the same are one group.

    Args:
        paths: image key to file.
        progress: whether a bar is shown.

    Returns:
        Key to group, which is called after the first key of it.

    Raises:
        ImageReadError: an image cannot be read.
    """
    keys = sorted(paths)
    if not keys:
        return {}
    signs = np.stack([_signs(paths[key]) for key in tqdm_bar(keys, desc="likeness", progress=progress)])
    pairs = []
    for position, own in enumerate(signs):
        differing = np.count_nonzero(signs[position + 1 :] != own, axis=1)
        pairs += [(keys[position], keys[position + 1 + i]) for i in np.flatnonzero(differing <= _MOST_DIFFERENT)]
    return groups_of_pairs(pairs, keys)


def _signs(path: Path) -> npt.NDArray[np.bool_]:
    """The 256 signs of one image."""
    grey = torch.einsum("chw,c->hw", load_medical_image(path), torch.tensor(_LUMA))[None, None]
    small = torch.nn.functional.interpolate(grey, size=(16, 17), mode="bilinear", antialias=True)[0, 0].numpy()
    brighter: npt.NDArray[np.bool_] = small[:, 1:] - small[:, :-1] > _LEVEL
    return brighter.ravel()
