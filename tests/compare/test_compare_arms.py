"""Probes: what they compute is what the libraries and papers say, validation alone chooses, and odd data do not spoil them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compare_toys import token_data
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_fpt.compare import FPTArm
from monai_fpt.compare.attentive import FPTAttentiveProbe
from monai_fpt.compare.knn import FPTNeighbours
from monai_fpt.compare.logistic import FPTLinearProbe
from monai_fpt.compare.mil import FPTAttentionMIL, FPTGatedAttention

ARMS: dict[str, FPTArm] = {
    "knn": FPTNeighbours(),
    "logistic_regression": FPTLinearProbe(),
    "attentive_probe": FPTAttentiveProbe(learning_rates=(1e-2,), epochs=12),
    "attention_mil": FPTAttentionMIL(hidden=8, learning_rate=2e-2, epochs=12, batch_size=8),
}


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize(("classes", "several"), [(2, False), (3, False), (3, True)], ids=["two", "three", "findings"])
def test_an_arm_learns_what_tokens_show(name: str, classes: int, several: bool, tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path, classes=classes, several=several)
    result = ARMS[name](arm_data, 0)
    labels = np.array([item["label"] for item in data.test])
    marks = labels if several else labels[:, None] == np.arange(classes)
    logits = result.logits["test"].numpy()
    assert {k: v.shape for k, v in result.logits.items()} == {"validation": (20, classes), "test": (20, classes)}
    assert min(roc_auc_score(marks[:, k], logits[:, k]) for k in range(classes)) > 0.9
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ARMS)
def test_a_seed_gives_the_same_again_and_leaves_torchs_own_numbers_alone(name: str, tmp_path: Path) -> None:
    arm_data, _, _ = token_data(tmp_path, signal=0.5)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (ARMS[name](arm_data, 4) for _ in range(2))
    assert torch.equal(first.logits["test"], second.logits["test"])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ARMS)
def test_test_images_change_nothing_but_their_own_answers(name: str, tmp_path: Path) -> None:
    """Neither standardisation nor choice looks at the test section."""
    arm_data, tokens, _ = token_data(tmp_path, signal=0.5)
    other = dict(tokens) | {"test": tokens["test"].flip(0) * 5 + 2}
    first, second = (ARMS[name](dataclasses.replace(arm_data, tokens=t.__getitem__), 0) for t in (tokens, other))
    assert torch.equal(first.logits["validation"], second.logits["validation"])
    assert first.chosen == second.chosen and first.best_epoch == second.best_epoch
    assert not torch.equal(first.logits["test"], second.logits["test"])


def test_no_arm_can_ask_for_test_labels(tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path)
    assert {item["label"] for item in data.test} == {0, 1}
    assert {item["label"] for item in arm_data.data.test} == {0}
    with pytest.raises(ValueError, match="labels of the test section"):
        arm_data.labels("test")


@pytest.mark.parametrize("name", ["knn", "logistic_regression"])
def test_a_class_that_training_lacks_is_improbable_and_shifts_no_other(name: str, tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path, classes=3)
    kept = [row for row, item in enumerate(data.training) if item["label"] != 1]
    training = [data.training[row] for row in kept]
    tokens = arm_data.tokens
    less = dataclasses.replace(
        arm_data,
        data=dataclasses.replace(arm_data.data, training=training),
        tokens=lambda section: tokens(section)[kept] if section == "training" else tokens(section),
    )
    logits = ARMS[name](less, 0).logits["test"]
    labels = torch.tensor([item["label"] for item in data.test])
    assert (logits[:, 1] < logits[:, [0, 2]].max(1).values).all()
    assert (logits[labels == 2].argmax(1) == 2).float().mean() > 0.9


def test_a_finding_that_every_training_image_has_is_no_error(tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path, classes=2, several=True)
    always = [item | {"label": [1.0, item["label"][1]]} for item in data.training]
    logits = FPTLinearProbe()(dataclasses.replace(arm_data, data=dataclasses.replace(data, training=always)), 0).logits
    assert (logits["test"][:, 0] > 10).all() and len(set(logits["test"][:, 1].tolist())) == 20


def test_logistic_regression_is_scikit_learns_on_standardised_tokens(tmp_path: Path) -> None:
    arm_data, tokens, _ = token_data(tmp_path, signal=0.7)
    found = FPTLinearProbe(tokens="both", cs=(0.1,))(arm_data, 0)
    both = {name: torch.cat([t[:, 0], t[:, 1:].mean(1)], 1).double().numpy() for name, t in tokens.items()}
    mean, std = both["training"].mean(0), both["training"].std(0)
    model = LogisticRegression(C=0.1, max_iter=2000).fit((both["training"] - mean) / std, arm_data.labels("training"))
    expected = model.predict_log_proba((both["test"] - mean) / std)
    np.testing.assert_allclose(found.logits["test"].numpy(), expected, atol=1e-4)
    assert found.learnable_parameters == 2 * 6 + 1 and found.training_bytes is None


def test_neighbours_vote_as_dino_says(tmp_path: Path) -> None:
    arm_data, tokens, _ = token_data(tmp_path, signal=0.7)
    found = FPTNeighbours(tokens="mean", ks=(7,))(arm_data, 0)
    means = {name: t[:, 1:].mean(1).double().numpy() for name, t in tokens.items()}
    centre, scale = means["training"].mean(0), means["training"].std(0)
    unit = {name: (m - centre) / scale for name, m in means.items()}
    unit = {name: m / np.linalg.norm(m, axis=1, keepdims=True) for name, m in unit.items()}
    similar = unit["test"] @ unit["training"].T
    labels = arm_data.labels("training").numpy()
    for row, logits in zip(similar, found.logits["test"], strict=True):
        nearest = np.argsort(-row)[:7]
        votes = np.exp(row[nearest] / 0.07)
        share = votes[labels[nearest] == 1].sum() / votes.sum()
        assert float(logits.softmax(0)[1]) == pytest.approx(share, abs=1e-4)


def test_validation_chooses_among_several(tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path, signal=0.4)
    found = FPTLinearProbe(cs=(1e-4, 1e-1, 100.0))(arm_data, 0)
    labels = [item["label"] for item in data.validation]
    scores = {}
    for c in (1e-4, 1e-1, 100.0):
        logits = FPTLinearProbe(cs=(c,))(arm_data, 0).logits["validation"]
        scores[c] = roc_auc_score(labels, (logits[:, 1] - logits[:, 0]).numpy())
    best = max(scores, key=lambda c: (scores[c], -c))
    assert found.chosen["C"] == best and found.chosen["validation_auc"] == pytest.approx(scores[best])


def test_gated_attention_is_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    head = FPTGatedAttention(6, 2, hidden=4, dropout=0.5, skip=1).eval()
    tokens = torch.randn(3, 5, 6)
    v, u, w = head.tanh[0], head.gate[0], head.score
    for bag, logits in zip(tokens[:, 1:], head(tokens), strict=True):
        scores = torch.stack([w(torch.tanh(v(h)) * torch.sigmoid(u(h))) for h in bag])
        shares = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(logits, head.head[1]((shares * bag).sum(0)))


def test_a_head_that_no_epoch_improves_stops_and_answers_with_its_best(tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path, signal=2.0)
    found = FPTAttentionMIL(hidden=4, learning_rate=5e-3, epochs=40, patience=3)(arm_data, 0)
    assert found.best_epoch is not None and len(found.history) == found.best_epoch + 3 < 40
    best = max(epoch["val_auc"] for epoch in found.history)
    labels = [item["label"] for item in data.validation]
    own = roc_auc_score(labels, (found.logits["validation"][:, 1] - found.logits["validation"][:, 0]).numpy())
    assert own == pytest.approx(best) == pytest.approx(found.history[found.best_epoch - 1]["val_auc"])


def test_class_weights_of_the_recipe_are_those_of_a_probe(tmp_path: Path) -> None:
    """Also where a step is one bag, over which a weighted mean would cancel its weight."""
    arm_data, _, data = token_data(tmp_path, signal=0.0)
    rare = [item | {"label": int(n < 5)} for n, item in enumerate(data.training)]
    alike = dataclasses.replace(arm_data, data=dataclasses.replace(arm_data.data, training=rare))
    balanced = dataclasses.replace(alike, class_weights="balanced")
    for arm in (FPTLinearProbe(cs=(1e-4,)), FPTAttentionMIL(hidden=4, epochs=1, learning_rate=1e-2)):
        shares = [arm(one, 0).logits["test"].softmax(1)[:, 1].mean().item() for one in (alike, balanced)]
        assert shares[1] > shares[0] + 0.1


def test_a_validation_section_of_one_class_is_no_error(tmp_path: Path) -> None:
    arm_data, _, data = token_data(tmp_path)
    alike = [item | {"label": 1} for item in data.validation]
    for arm in ARMS.values():
        found = arm(dataclasses.replace(arm_data, data=dataclasses.replace(arm_data.data, validation=alike)), 0)
        assert math.isnan(found.chosen["validation_auc"]) and torch.isfinite(found.logits["test"]).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FPTNeighbours(tokens="cls"), "tokens='cls'"),  # type: ignore[arg-type]
        (lambda: FPTNeighbours(ks=(0,)), "at least 1"),
        (lambda: FPTLinearProbe(cs=(-1.0,)), "above 0"),
        (lambda: FPTAttentiveProbe(learning_rates=()), "at least one"),
    ],
    ids=["tokens", "ks", "cs", "rates"],
)
def test_a_setting_that_cannot_be_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
