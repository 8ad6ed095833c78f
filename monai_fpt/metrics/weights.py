"""Which trained weights numbers belong to: one digest that predictions, calibrations and packages of a network carry.

Logits, temperature and thresholds mean something for the very weights that they were made with. A file left over from other weights
looks as good as the right one, so each says whose it is, and whoever uses two together compares.

The digest is of the values, not of the file: the same in ``model.pt``, in ``adapter.safetensors``, in a network on a GPU, and in any order
of the tensors. The frozen backbone is in it by its fingerprint, which the adapter holds as ``backbone_id``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["fpt_weights_sha256"]


def fpt_weights_sha256(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """Name the learned weights of a network.

    Args:
        weights: a network, of which ``state_dict()`` counts, or such a dictionary. Wrappers that prefix the names are to be taken off.

    Returns:
        sha256 (64 hex digits) over names, shapes and values. Floating-point numbers count as float64, which holds all others exactly.

    Example:
        >>> state = {"b": torch.zeros(2), "a": torch.ones(1, dtype=torch.int64)}
        >>> fpt_weights_sha256(state) == fpt_weights_sha256(dict(sorted(state.items())))
        True
        >>> fpt_weights_sha256(state) == fpt_weights_sha256(state | {"b": torch.tensor([0.0, 1e-9])})
        False
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        kind = "number" if values.is_floating_point() else str(values.dtype)
        digest.update(f"{name}|{tuple(values.shape)}|{kind}|".encode())
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
