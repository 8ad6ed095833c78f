"""State dictionaries reduced to what ``torch.load(weights_only=True)`` reads: tensors, primitives, plain containers.

Optimizers and schedulers may keep NumPy numbers (a metric they were stepped with) or whole objects. Numbers are
converted; an object that cannot be read back safely is an error now, not at the resume after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["plain_state"]


def plain_state(value: Any, where: str) -> Any:
    """A copy of ``value`` made of CPU tensors, numbers, strings, ``None``, dicts, lists and tuples.

    Args:
        value: any state dictionary.
        where: its name in error messages, extended by the keys on the way down.

    Raises:
        TypeError: something else is inside.
    """
    if value is None or type(value) in (bool, int, float, complex, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor).to("cpu", copy=True)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.item() if value.ndim == 0 else torch.from_numpy(np.array(value))
    if isinstance(value, Counter):
        return Counter(value)
    if isinstance(value, Mapping):
        return {key: plain_state(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_state(item, f"{where}[{i}]") for i, item in enumerate(value))
    raise TypeError(
        f"{where} is a {type(value).__name__}, which a checkpoint of tensors and numbers cannot hold: "
        "leave this object out of the checkpoint or let its state_dict give plain values."
    )
