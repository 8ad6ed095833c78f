"""Which image is next: arithmetic against independent sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from monai_fpt.monailabel.active import (
    bald_uncertainty,
    dropout_passes,
    entropy_uncertainty,
    k_centre_greedy,
    margin_uncertainty,
    most_informative,
    uncertainty_of,
)
from monai_fpt.networks import FPTClassifier, FPTConfig

CONFIG = FPTConfig(
    backbone="vit_tiny_patch16_224",
    backbone_weights=None,
    image_size=64,
    side_size=32,
    num_tokens=4,
    backbone_kwargs={"depth": 2},
)


def probabilities(rows: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows)


def test_entropy_is_that_of_scipy() -> None:
    p = probabilities(20, 5)

    np.testing.assert_allclose(entropy_uncertainty(p), scipy.stats.entropy(p, axis=1))


def test_entropy_of_several_labels_is_the_mean_of_their_binary_entropies() -> None:
    p = np.array([[0.5, 0.9], [0.0, 1.0]])
    expected = [(math.log(2) + scipy.stats.entropy([0.9, 0.1])) / 2, 0.0]

    np.testing.assert_allclose(entropy_uncertainty(p, task="multilabel"), expected, atol=1e-12)


def test_margin_is_between_the_two_likeliest_and_for_several_labels_that_of_the_least_decided() -> None:
    assert margin_uncertainty([[0.2, 0.5, 0.3]]) == pytest.approx([0.8])
    assert margin_uncertainty([[0.9, 0.55], [0.0, 1.0]], task="multilabel") == pytest.approx([0.9, 0.0])


def test_with_two_classes_margin_and_entropy_order_images_alike() -> None:
    p = probabilities(50, 2)

    assert np.argsort(margin_uncertainty(p)).tolist() == np.argsort(entropy_uncertainty(p)).tolist()


def test_bald_is_zero_where_passes_agree_and_is_the_mutual_information_of_pass_and_class() -> None:
    passes = np.stack([probabilities(6, 3, seed) for seed in range(4)])
    joint = passes / 4  # pass and class, each pass as likely
    mutual = [
        sum(
            joint[t, n, k] * math.log(joint[t, n, k] / (0.25 * joint[:, n, k].sum()))
            for t in range(4)
            for k in range(3)
        )
        for n in range(6)
    ]

    np.testing.assert_allclose(bald_uncertainty(passes), mutual)
    np.testing.assert_allclose(bald_uncertainty(np.stack([passes[0]] * 3)), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "task"),
    [([[0.4, 0.4]], "multiclass"), ([[1.5, -0.5]], "multiclass"), ([0.4, 0.6], "multiclass"), ([[1.2]], "multilabel")],
    ids=["sum", "range", "shape", "several"],
)
def test_logits_in_place_of_probabilities_are_refused(values: list, task: str) -> None:
    with pytest.raises(ValueError, match="no probabilities"):
        entropy_uncertainty(values, task=task)


def test_an_unknown_uncertainty_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'doubt' is not one of bald, entropy, margin"):
        uncertainty_of("doubt")


def brute_force_k_centre(points: np.ndarray, taken: list[int], count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        covered = taken + chosen
        free = [i for i in range(len(points)) if i not in covered]
        chosen.append(max(free, key=lambda i: min(math.dist(points[i], points[j]) for j in covered)))
    return chosen


def test_k_centre_takes_the_farthest_each_time() -> None:
    points = np.random.default_rng(1).normal(size=(40, 6))

    assert k_centre_greedy(points, [3, 17], 10) == brute_force_k_centre(points, [3, 17], 10)


def test_k_centre_begins_in_the_middle_and_ends_with_the_pool() -> None:
    points = [[0.0], [4.0], [5.0], [11.0]]

    assert k_centre_greedy(points, [], 9) == [2, 3, 0, 1]
    assert k_centre_greedy(points, [0, 1, 2, 3], 2) == []


def test_diversity_keeps_copies_of_one_hard_case_from_being_asked_twice() -> None:
    points = np.array([[0.0], [0.001], [0.002], [9.0]])
    doubt = [1.0, 0.99, 0.98, 0.5]

    assert most_informative(doubt, points, [], 2, diversity=0.0) == [0, 1]
    assert most_informative(doubt, points, [], 2, diversity=0.6) == [0, 3]
    assert most_informative(doubt, points, [0], 3, diversity=1.0) == k_centre_greedy(points, [0], 3)


def test_what_is_taken_is_never_chosen() -> None:
    points, doubt = np.random.default_rng(0).normal(size=(30, 4)), np.random.default_rng(1).random(30)
    taken = [0, 5, 29]

    chosen = most_informative(doubt, points, taken, 100)

    assert sorted(chosen) == [i for i in range(30) if i not in taken]


def test_passes_with_dropout_are_those_of_the_network_in_training_mode() -> None:
    torch.manual_seed(0)
    network = FPTClassifier(CONFIG).eval()
    features = torch.randn(3, *network.backbone.feature_shape)
    images = torch.randn(3, 3, 32, 32)

    sure, passes = dropout_passes(network, images, features, 400, torch.Generator().manual_seed(0))
    network.fusion.train()
    with torch.no_grad():
        mean = torch.stack([network(images, features) for _ in range(400)])

    torch.testing.assert_close(sure, network.eval()(images, features))
    assert passes.shape == (400, 3, 2)
    assert passes.std(0).min() > 0
    error = (passes.var(0) / 400 + mean.var(0) / 400).sqrt()
    assert bool(((passes.mean(0) - mean.mean(0)).abs() < 5 * error).all())
