"""Logistic regression on cached tokens: the linear probe, and what FPT+ has to beat to be worth its side network.

scikit-learn's ``LogisticRegression`` (L2, L-BFGS) on features standardised by the training section; C is chosen by validation AUC from
powers of ten, as the linear probes of CLIP are swept (Radford et al. 2021, arXiv 2103.00020, appendix A.3). Of several findings each has
its own regression, all the same C. The section that chooses is not added to the training afterwards, for no other arm's is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from monai_fpt.compare.arm import FPTArmData, FPTArmResult
from monai_fpt.compare.pooled import PooledTokens, expanded_log_probabilities, pooled_features, require_choice
from monai_fpt.compare.scoring import is_better, validation_auc
from monai_fpt.compare.settings import require_whole, several_numbers

__all__ = ["FPTLinearProbe"]

_ALWAYS = 16.0  # logit of a finding that every training image has, or none


@dataclasses.dataclass(frozen=True)
class FPTLinearProbe:
    """The arm ``logistic_regression``.

    Attributes:
        tokens: ``"class"``, ``"mean"`` or ``"both"``.
        cs: inverse strengths of the penalty to choose from.
        max_iter: of L-BFGS.
    """

    tokens: PooledTokens = "both"
    cs: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    max_iter: int = 2000

    def __post_init__(self) -> None:
        require_choice(self.tokens, "logistic_regression")
        object.__setattr__(self, "cs", several_numbers("logistic_regression", "cs", self.cs))
        require_whole("logistic_regression", max_iter=self.max_iter)
        if min(self.cs) <= 0:
            raise ValueError(f"logistic_regression: cs={list(self.cs)} must be numbers above 0.")

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Choose C by validation, the strongest penalty among equals; ``seed`` changes nothing."""
        sections = [name for name in ("validation", "test") if arm_data.data.section(name)]
        features = {name: pooled_features(arm_data, name, self.tokens) for name in ("training", *sections)}
        best: tuple[float, float, int, dict[str, Tensor]] | None = None
        for c in sorted(self.cs):
            logits, learnable = self._fitted(c, arm_data, features, sections)
            score = validation_auc(logits["validation"], arm_data.labels("validation"), arm_data.task)
            if is_better(score, None if best is None else best[0]):
                best = (score, c, learnable, logits)
        assert best is not None
        return FPTArmResult(
            logits=best[3],
            learnable_parameters=best[2],
            training_bytes=None,
            chosen={"C": best[1], "validation_auc": best[0]},
        )

    def _fitted(
        self, c: float, arm_data: FPTArmData, features: dict[str, Any], sections: list[str]
    ) -> tuple[dict[str, Tensor], int]:
        """Logits of each section, and how many numbers were learned."""
        labels = arm_data.labels("training").numpy()
        weight = None if arm_data.class_weights == "equal" else "balanced"

        def fitted(target: Any) -> Any:
            model = LogisticRegression(C=c, max_iter=self.max_iter, class_weight=weight)
            return make_pipeline(StandardScaler(), model).fit(features["training"], target)

        if arm_data.task == "multiclass":
            if len(np.unique(labels)) < 2:
                raise ValueError(
                    "logistic_regression: all training images are of one class; there is nothing to learn."
                )
            model = fitted(labels)
            classes = model[-1].classes_.astype(int)
            logits = {
                name: expanded_log_probabilities(model.predict_proba(features[name]), classes, arm_data.num_classes)
                for name in sections
            }
            return logits, _learned(model)
        columns: dict[str, list[Any]] = {name: [] for name in sections}
        learnable = 0
        for k in range(arm_data.num_classes):
            constant = len(np.unique(labels[:, k])) < 2
            model = None if constant else fitted(labels[:, k].astype(int))
            learnable += 0 if model is None else _learned(model)
            for name in sections:
                same = np.full(len(features[name]), _ALWAYS if labels[0, k] else -_ALWAYS)
                columns[name].append(same if model is None else model.decision_function(features[name]))
        return {name: torch.from_numpy(np.stack(own, axis=1)).float() for name, own in columns.items()}, learnable


def _learned(model: Any) -> int:
    return int(model[-1].coef_.size + model[-1].intercept_.size)
