"""The figures show the numbers they are made of."""

from __future__ import annotations

import pytest
import torch

from monai_fpt.handlers.figures import confusion_figure, roc_figure
from monai_fpt.metrics import fpt_class_auc


def texts(figure: object) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]  # type: ignore[attr-defined]


def legend(figure: object) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]  # type: ignore[attr-defined]


def test_confusion_counts_and_row_shares() -> None:
    figure = confusion_figure(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]), ["a", "b"])
    assert texts(figure) == ["2\n67%", "1\n33%", "0\n0%", "1\n100%"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a (n=3)", "b (n=1)"]


@pytest.mark.parametrize("labels", [[], [2, 2]])
def test_confusion_of_missing_classes_is_drawn(labels: list[int]) -> None:
    assert len(texts(confusion_figure(labels, labels, ["a", "b", "c"]))) == 9


def test_confusion_refuses_an_unknown_class() -> None:
    with pytest.raises(ValueError, match="must be 0 to 1 but reach from 0 to 2"):
        confusion_figure([0, 2], [0, 1], ["a", "b"])


@pytest.mark.parametrize("classes", [2, 3])
def test_roc_names_every_area(classes: int, tmp_path: object) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (40,), generator=generator)
    probabilities = torch.rand(40, classes, generator=generator).softmax(1)
    areas = fpt_class_auc(probabilities, labels, task="multiclass").tolist()
    drawn = [1] if classes == 2 else range(classes)
    figure = roc_figure(probabilities, labels, [f"class {k}" for k in range(classes)], "multiclass")
    assert legend(figure) == [f"class {k}: AUC {areas[k]:.3f}" for k in drawn]


def test_roc_of_a_class_that_never_occurs_says_so() -> None:
    figure = roc_figure([[0.9, 0.2], [0.1, 0.3]], [[1, 0], [0, 0]], ["a", "b"], "multilabel")
    assert legend(figure) == ["a: AUC 1.000", "b: undefined"]


def test_roc_wants_as_many_names_as_probabilities() -> None:
    with pytest.raises(ValueError, match="2 probabilities a sample but 1 class names"):
        roc_figure([[0.5, 0.5]], [0], ["a"], "multiclass")
