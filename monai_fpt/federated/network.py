"""The network as it stands in a federation: what it receives is an average, and must still be of its own backbone.

An adapter names its backbone by ``backbone_id``, 128 bytes. Whoever averages state dicts averages them too: three times 163 over 3 may come
back as 162.99999, which a cast to bytes would make 162, another backbone. Here numbers that stand for the very bytes are the bytes again, and
everything else, for instance the mean of two backbones, is refused: one site of a thousand with another backbone moves the mean by far more
than the tolerance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_fpt.networks import BackboneMismatchError, FPTClassifier

__all__ = ["FPTFederatedClassifier"]

_KEY = "backbone_id"
_TOLERANCE = 1e-2  # float32 sums of bytes are exact to 1e-4; half precision holds whole numbers up to 2048


class FPTFederatedClassifier(FPTClassifier):
    """An ``FPTClassifier`` that takes an averaged ``backbone_id`` for what it is.

    Raises:
        BackboneMismatchError: on loading weights whose ``backbone_id`` is not this network's, or no longer any.
    """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        name = f"{prefix}{_KEY}"
        if name in state_dict:
            state_dict[name] = self._settled(state_dict[name])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _settled(self, received: Tensor) -> Tensor:
        """The received identity as bytes, for the check of ``FPTClassifier``."""
        own = self.backbone_id
        if not received.is_floating_point():
            return received
        if received.shape == own.shape and bool((received.to(own.device) - own.double()).abs().max() < _TOLERANCE):
            return own.clone()
        bytes_ = received.round()
        if received.shape == own.shape and bool(((received - bytes_).abs() < _TOLERANCE).all() and (bytes_ >= 0).all()):
            return bytes_.clamp(max=255).to(torch.uint8)  # another backbone, whole enough to be named
        raise BackboneMismatchError(
            "The backbone_id received is no backbone's: weights of different backbones were averaged, or it was altered on its way (noise, "
            "compression); give every site the same backbone, and leave backbone_id out of filters."
        )
