"""k nearest neighbours on cached tokens, as DINO judges backbones (Caron et al. 2021, arXiv 2104.14294): nothing is learned.

scikit-learn's ``KNeighborsClassifier``: cosine distance, votes weighted by ``exp(similarity / 0.07)``; k is chosen by validation AUC.
Features are standardised by the training section first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from monai_fpt.compare.arm import FPTArmData, FPTArmResult
from monai_fpt.compare.pooled import PooledTokens, expanded_log_probabilities, pooled_features, require_choice
from monai_fpt.compare.scoring import is_better, validation_auc
from monai_fpt.compare.settings import several_numbers

__all__ = ["FPTNeighbours"]

_TEMPERATURE = 0.07  # DINO's


@dataclasses.dataclass(frozen=True)
class FPTNeighbours:
    """The arm ``knn``.

    Attributes:
        tokens: ``"class"``, ``"mean"`` or ``"both"``.
        ks: numbers of neighbours to choose from; more than there are training images count as all of them.
    """

    tokens: PooledTokens = "class"
    ks: tuple[int, ...] = (5, 10, 20, 50, 100, 200)

    def __post_init__(self) -> None:
        require_choice(self.tokens, "knn")
        object.__setattr__(self, "ks", several_numbers("knn", "ks", self.ks, whole=True))
        if min(self.ks) < 1:
            raise ValueError(f"knn: ks={list(self.ks)} must be numbers of neighbours, at least 1 each.")

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Choose k by validation; ``seed`` changes nothing."""
        sections = [name for name in ("validation", "test") if arm_data.data.section(name)]
        features = {name: pooled_features(arm_data, name, self.tokens) for name in ("training", *sections)}
        labels = arm_data.labels("training").numpy()
        best: tuple[float, int, dict[str, Tensor]] | None = None
        usable = sorted({min(k, len(labels)) for k in self.ks})
        for k in usable:
            voters = make_pipeline(
                StandardScaler(),
                KNeighborsClassifier(n_neighbors=k, metric="cosine", algorithm="brute", weights=_votes),
            ).fit(features["training"], labels)
            logits = {name: _logits(voters, features[name], arm_data) for name in sections}
            score = validation_auc(logits["validation"], arm_data.labels("validation"), arm_data.task)
            if is_better(score, None if best is None else best[0]):
                best = (score, k, logits)
        assert best is not None
        return FPTArmResult(
            logits=best[2],
            learnable_parameters=0,
            training_bytes=None,
            chosen={"k": best[1], "validation_auc": best[0]},
        )


def _votes(distances: npt.NDArray[np.float64]) -> Any:
    """exp(similarity / 0.07), divided by the largest of each image: votes of no image vanish all."""
    nearest = distances.min(axis=1, keepdims=True)
    return np.exp((nearest - distances) / _TEMPERATURE)


def _logits(voters: Any, features: Any, arm_data: FPTArmData) -> Tensor:
    found = voters.predict_proba(features)
    if arm_data.task == "multiclass":
        return expanded_log_probabilities(found, voters[-1].classes_.astype(int), arm_data.num_classes)
    # one finding gives one array, several give a list; each has a column for every value that occurred
    columns, values = (found, voters[-1].classes_) if isinstance(found, list) else ([found], [voters[-1].classes_])
    pairs = [expanded_log_probabilities(one, seen.astype(int), 2) for one, seen in zip(columns, values, strict=True)]
    return torch.stack([pair[:, 1] - pair[:, 0] for pair in pairs], dim=1)
