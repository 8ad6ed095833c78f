"""The MONAI metric pools batches of any form and gives the functional score."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from monai_fpt.metrics import FPT_SCORES, FPTClassificationMetric, classification_scores


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 3, generator=generator), torch.randint(0, 3, (30,), generator=generator)


@pytest.mark.parametrize("score", FPT_SCORES)
def test_batches_give_the_score_of_the_whole(score: str, data: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = data
    predictions = logits if score == "official_auc" else logits.softmax(1)
    metric = FPTClassificationMetric(score=score)
    for part in torch.arange(30).split(8):
        metric(predictions[part], labels[part])
    expected = classification_scores(logits.softmax(1), labels, task="multiclass", logits=logits)[score]
    assert metric.aggregate() == pytest.approx(expected, abs=1e-12)


def as_tensors(labels: torch.Tensor) -> Any:
    return list(labels)


def as_numbers(labels: torch.Tensor) -> Any:
    return labels.tolist()


def as_columns(labels: torch.Tensor) -> Any:
    return list(labels[:, None])


@pytest.mark.parametrize("form", [as_tensors, as_numbers, as_columns])
def test_decollated_labels_may_be_tensors_or_numbers(form: Any, data: tuple[torch.Tensor, torch.Tensor]) -> None:
    probabilities, labels = data[0].softmax(1), data[1]
    metric = FPTClassificationMetric()
    metric(list(probabilities), form(labels))
    whole = FPTClassificationMetric()
    whole(probabilities, labels)
    assert metric.aggregate() == whole.aggregate()


def test_reset_forgets() -> None:
    metric = FPTClassificationMetric("accuracy")
    metric(torch.tensor([[0.9, 0.1]]), torch.tensor([1]))
    assert metric.aggregate() == 0.0
    metric.reset()
    assert math.isnan(metric.aggregate())
    metric(torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    assert metric.aggregate() == 1.0


def test_a_network_that_predicts_nan_has_the_score_nan() -> None:
    metric = FPTClassificationMetric()
    metric(torch.tensor([[float("nan"), 0.1], [0.5, 0.5]]), torch.tensor([0, 1]))
    with pytest.warns(UserWarning, match="predicts NaN"):
        assert math.isnan(metric.aggregate())


def test_multilabel_samples_are_pooled() -> None:
    metric = FPTClassificationMetric("f1", task="multilabel")
    metric([torch.tensor([0.9, 0.2]), torch.tensor([0.1, 0.7])], [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])
    assert metric.aggregate() == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"score": "roc"}, "score must be one of accuracy"),
        ({"task": "binary"}, "task must be one of"),
        ({"score": "kappa", "task": "multilabel"}, "does not exist for task 'multilabel'"),
    ],
)
def test_impossible_scores_are_refused_when_made(arguments: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FPTClassificationMetric(**arguments)


def test_missing_or_unequal_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="needs labels"):
        FPTClassificationMetric()(torch.tensor([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="1 predictions but 2 labels"):
        FPTClassificationMetric()(torch.tensor([[0.5, 0.5]]), torch.tensor([0, 1]))
