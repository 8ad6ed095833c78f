"""Predictions that may leave the house: every score can be computed and two models compared on them, but no image or
patient is named.

Names become hashes salted with the whole list of names: two models tested on the same images give the same hashes, so
that they can be compared pair by pair, while nobody who lacks the complete list can try out names. So do contents, salted with all
contents, so that the same images are known as such under other names. An image without a known patient keeps none. Facts (age, sex, site)
are left behind, for together they may tell who it is. Rows are sorted by hash, for their order tells the folder's.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from monai_fpt.metrics import FPTPredictions

__all__ = ["pseudonymous"]

_LENGTH = 24


def pseudonymous(predictions: FPTPredictions) -> FPTPredictions:
    """The same predictions with hashes for keys and groups, without facts, in an order of their own.

    Args:
        predictions: of a labelled section.

    Example:
        >>> import numpy as np
        >>> made = pseudonymous(FPTPredictions(("a/1.png",), ("Smith",), np.array([0]), np.zeros((1, 2)), ("no", "yes")))
        >>> len(made.keys[0]), made.groups[0] == made.keys[0]
        (24, False)
    """

    def salted(names: Sequence[str]) -> bytes:
        return hashlib.sha256("\0".join(sorted(names)).encode()).digest()

    def hashed(names: Sequence[str], kind: bytes, salt: bytes) -> tuple[str, ...]:
        return tuple(hashlib.sha256(salt + kind + name.encode()).hexdigest()[:_LENGTH] for name in names)

    salt = salted(predictions.keys)
    keys, groups = hashed(predictions.keys, b"key", salt), hashed(predictions.groups, b"group", salt)
    if not predictions.patients_known:
        groups = keys
    contents = hashed(predictions.contents, b"content", salted(predictions.contents))
    named = dataclasses.replace(predictions, keys=keys, groups=groups, contents=contents, facts={})
    return named.subset(sorted(range(len(named)), key=named.keys.__getitem__))
