"""FPTLoss against torch's own losses with weights computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from monai_fpt.networks import FPTLoss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [1.0, 1.0, 1.0], [-2.0, 4.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 0])
SEVERAL = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]])
COUNTS = [6, 3, 1]  # of 10 images
BALANCED = torch.tensor([10 / 18, 10 / 9, 10 / 3])


def test_without_weights_it_is_cross_entropy_exactly() -> None:
    assert torch.equal(FPTLoss()(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize("choice", ["equal", None])
def test_equal_weights_are_no_weights_even_when_counts_are_given(choice: Any) -> None:
    assert torch.equal(
        FPTLoss(class_counts=COUNTS, class_weights=choice)(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS)
    )


def test_balanced_weights_make_every_class_count_alike() -> None:
    loss = FPTLoss(class_counts=COUNTS, class_weights="balanced")

    torch.testing.assert_close(loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS, weight=BALANCED))
    torch.testing.assert_close((loss.weight * torch.tensor(COUNTS)), torch.full((3,), 10 / 3))


@pytest.mark.parametrize(
    ("progress", "weights"),
    [(0.0, BALANCED), (0.25, 0.75 * BALANCED + 0.25), (1.0, torch.ones(3)), (1.5, torch.ones(3)), (-1.0, BALANCED)],
    ids=["start", "a quarter", "end", "beyond the end", "before the start"],
)
def test_decaying_weights_go_from_balanced_to_equal(progress: float, weights: torch.Tensor) -> None:
    loss = FPTLoss(class_counts=COUNTS, class_weights="decaying")

    loss.set_progress(progress)

    torch.testing.assert_close(loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS, weight=weights))


@pytest.mark.parametrize("choice", ["equal", "balanced"])
def test_progress_changes_only_what_decays(choice: Any) -> None:
    loss = FPTLoss(class_counts=COUNTS, class_weights=choice)
    before = loss(LOGITS, LABELS)

    loss.set_progress(0.9)

    assert torch.equal(loss(LOGITS, LABELS), before)


def test_several_labels_are_binary_cross_entropy() -> None:
    ours = FPTLoss("multilabel")(LOGITS, SEVERAL)

    torch.testing.assert_close(ours, F.binary_cross_entropy(LOGITS.sigmoid(), SEVERAL.float()))


def test_balanced_weights_of_several_labels_are_negatives_over_positives() -> None:
    ours = FPTLoss("multilabel", class_counts=COUNTS, num_images=10, class_weights="balanced")(LOGITS, SEVERAL)

    p, y, w = LOGITS.sigmoid(), SEVERAL.float(), torch.tensor([4 / 6, 7 / 3, 9 / 1])
    torch.testing.assert_close(ours, -(w * y * p.log() + (1 - y) * (1 - p).log()).mean())


def test_weights_follow_the_precision_of_the_logits() -> None:
    loss = FPTLoss(class_counts=COUNTS, class_weights="balanced")(LOGITS.double(), LABELS)

    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(F.cross_entropy(LOGITS.double(), LABELS, weight=BALANCED.double()).item())


def test_labels_may_come_in_any_whole_number_type() -> None:
    assert torch.equal(FPTLoss()(LOGITS, LABELS.int()), FPTLoss()(LOGITS, LABELS))


def test_weights_are_no_part_of_a_checkpoint() -> None:
    assert not FPTLoss(class_counts=COUNTS, class_weights="balanced").state_dict()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "task": ({"task": "regression"}, r"task='regression' is not one of \"multiclass\", \"multilabel\""),
    "weights": ({"class_weights": "inverse"}, r"class_weights='inverse' is not one of 'equal', 'balanced', 'decaying'"),
    "no counts": ({"class_weights": "balanced"}, r"needs training images of every class, got counts None"),
    "an absent class": ({"class_weights": "decaying", "class_counts": [3, 0]}, r"every class, got counts \[3, 0\]"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_loss_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FPTLoss(**arguments)
