"""Tokens of an image as one vector: what kNN and logistic regression read."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from monai_fpt.compare.arm import FPTArmData

__all__ = ["PooledTokens", "expanded_log_probabilities", "pooled_features", "require_choice"]

PooledTokens = Literal["class", "mean", "both"]

_Floats = npt.NDArray[np.float64]
_LEAST = 1e-7


def pooled_features(arm_data: FPTArmData, section: str, tokens: PooledTokens) -> _Floats:
    """(N, C) or (N, 2C): the CLS token, the mean of the patch tokens, or both. A backbone without CLS token gives the mean."""
    all_tokens = arm_data.tokens(section)
    parts = []
    if tokens in ("class", "both") and arm_data.has_class_token:
        parts.append(all_tokens[:, 0])
    if tokens in ("mean", "both") or not parts:
        parts.append(all_tokens[:, arm_data.num_prefix_tokens :].mean(1))
    return torch.cat(parts, dim=1).double().numpy()


def require_choice(tokens: str, arm: str) -> None:
    """Refuse another choice than "class", "mean" or "both".

    Raises:
        ValueError: says so.
    """
    if tokens not in get_args(PooledTokens):
        raise ValueError(
            f"{arm}: tokens={tokens!r} is not one of {', '.join(map(repr, get_args(PooledTokens)))}; choose one."
        )


def expanded_log_probabilities(probabilities: _Floats, classes: npt.NDArray[np.int64], count: int) -> torch.Tensor:
    """(N, count) log-probabilities of all classes from those (N, J) of the classes that occurred in the training section."""
    whole = np.zeros((len(probabilities), count))
    whole[:, classes] = probabilities
    return torch.from_numpy(np.log(np.clip(whole, _LEAST, 1.0))).float()
