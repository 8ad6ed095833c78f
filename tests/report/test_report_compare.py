"""Two networks are compared on the same images, by the difference and not by two intervals."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from report_toys import drawn_predictions

from monai_fpt.metrics import FPTPredictions
from monai_fpt.report import compare_predictions, evaluate_predictions


def improved(predictions: FPTPredictions, by: float) -> FPTPredictions:
    """Logits that know the labels a little better."""
    return dataclasses.replace(
        predictions, logits=predictions.logits + by * np.eye(len(predictions.classes))[predictions.labels]
    )


def test_a_small_real_difference_is_seen_although_the_intervals_overlap() -> None:
    champion = drawn_predictions("binary", 300)
    challenger = improved(champion, 0.3)
    found = compare_predictions(champion, challenger, bootstrap=400)
    both = [evaluate_predictions(one, bootstrap=400).scores["auc"] for one in (champion, challenger)]

    assert both[0].high > both[1].low
    assert found.verdict == "better" and found.differences["auc"].difference.low > 0
    assert found.differences["auc"].p_value == pytest.approx(2 / 401)
    assert found.differences["brier"].verdict == "better" and found.differences["brier"].difference.value < 0
    assert compare_predictions(challenger, champion, bootstrap=400).verdict == "worse"


def test_values_are_those_of_the_evaluations() -> None:
    champion, challenger = drawn_predictions("multiclass"), improved(drawn_predictions("multiclass"), 0.5)
    found = compare_predictions(champion, challenger, bootstrap=20)
    ours, theirs = (evaluate_predictions(one, bootstrap=0).scores for one in (champion, challenger))

    for name, one in found.differences.items():
        assert (one.champion, one.challenger) == pytest.approx((ours[name].value, theirs[name].value), abs=1e-6), name
        assert one.difference.value == pytest.approx(one.challenger - one.champion)


def test_noise_is_no_difference() -> None:
    champion = drawn_predictions("binary", 100)
    noise = np.random.default_rng(5).normal(scale=0.3, size=champion.logits.shape)
    found = compare_predictions(champion, dataclasses.replace(champion, logits=champion.logits + noise), bootstrap=400)

    assert found.verdict == "no difference shown" and found.differences["auc"].p_value > 0.05
    assert "not shown to differ from the champion" in str(found)


def test_a_network_does_not_differ_from_itself() -> None:
    champion = drawn_predictions("multilabel")
    found = compare_predictions(champion, champion.subset(range(len(champion) - 1, -1, -1)), bootstrap=50)

    for name, one in found.differences.items():
        assert one.difference.value == pytest.approx(0, abs=1e-12), name
        assert one.verdict == "no difference shown"


@pytest.mark.slow
def test_where_there_is_no_difference_one_in_twenty_is_called_real() -> None:
    real = 0
    for seed in range(200):
        champion = drawn_predictions("binary", 100, seed=seed, per_patient=1)
        random = np.random.default_rng(seed + 1000)
        logits = random.normal(size=champion.logits.shape) * 2
        logits[np.arange(100), champion.labels] += 2  # another network, as good as the first
        found = compare_predictions(champion, dataclasses.replace(champion, logits=logits), bootstrap=200)
        real += found.verdict != "no difference shown"

    assert 1 <= real <= 22


def test_the_comparison_is_json() -> None:
    champion = drawn_predictions("binary")
    content = json.loads(json.dumps(compare_predictions(champion, champion, bootstrap=10).to_dict(), allow_nan=False))

    assert content["primary"] == "auc" and content["verdict"] == "no difference shown"
    assert content["differences"]["auc"]["difference"]["value"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("benign", "cancer")}, "compare models of the same question"),
        ({"keys": tuple(f"other{n}" for n in range(120))}, "240 images were judged by only one"),
        ({"labels": np.zeros(120, dtype=int)}, "different labels for the same images"),
        ({"groups": tuple(map(str, range(120)))}, "different patients for the same images"),
    ],
    ids=["classes", "images", "labels", "patients"],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, Any], words: str) -> None:
    champion = drawn_predictions("binary")
    with pytest.raises(ValueError, match=words):
        compare_predictions(champion, dataclasses.replace(champion, **change))


def test_a_missing_image_is_not_left_out() -> None:
    champion = drawn_predictions("binary")
    with pytest.raises(ValueError, match=r"1 images were judged by only one of the two \(120 and 119 images\)"):
        compare_predictions(champion, champion.subset(range(119)))


def test_an_unknown_score_cannot_decide() -> None:
    champion = drawn_predictions("binary")
    with pytest.raises(ValueError, match=r"primary='f2' is no score of these images; choose one of auc, "):
        compare_predictions(champion, champion, primary="f2", bootstrap=2)
