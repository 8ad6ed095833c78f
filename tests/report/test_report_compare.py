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
    found = compare_predictions(champion, challenger, bootstrap=100)
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
    found = compare_predictions(champion, champion.subset(range(len(champion) - 1, -1, -1)), bootstrap=100)

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
    content = json.loads(json.dumps(compare_predictions(champion, champion, bootstrap=100).to_dict(), allow_nan=False))

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
        compare_predictions(champion, champion, primary="f2", bootstrap=100)


# --- which images are the same


CONTENTS = tuple(f"content {number}" for number in range(120))


def with_contents(predictions: FPTPredictions, contents: tuple[str, ...] = CONTENTS, **changes: Any) -> FPTPredictions:
    return dataclasses.replace(predictions, contents=contents, **changes)


def test_images_are_paired_by_content_whatever_they_are_called() -> None:
    champion = with_contents(drawn_predictions("binary"))
    renamed = with_contents(
        improved(champion, 0.5),
        keys=tuple(f"copy/{number}" for number in range(119, -1, -1)),
        groups=tuple(f"anonymous {number // 2}" for number in range(120)),
    ).subset(np.random.default_rng(0).permutation(120))
    found = compare_predictions(champion, renamed, bootstrap=100)
    wanted = compare_predictions(champion, improved(champion, 0.5), bootstrap=100)
    assert found.paired_by == "content" and not any("paired by name" in note for note in found.notes)
    assert found.differences["auc"] == wanted.differences["auc"]


def test_two_images_of_one_name_are_not_paired() -> None:
    champion = with_contents(drawn_predictions("binary"))
    other = with_contents(champion, (*CONTENTS[:-1], "another image"))
    with pytest.raises(
        ValueError, match=r"2 images were judged by only one .*, of which 120 have the same names but not"
    ):
        compare_predictions(champion, other)


def test_names_that_changed_places_do_not_mix_up_the_images() -> None:
    champion = with_contents(drawn_predictions("binary"))
    swapped = with_contents(champion, keys=(champion.keys[1], champion.keys[0], *champion.keys[2:]))
    found = compare_predictions(champion, swapped, bootstrap=100)
    assert all(one.difference.value == pytest.approx(0, abs=1e-12) for one in found.differences.values())


def test_other_patients_of_the_same_contents_are_refused() -> None:
    champion = with_contents(drawn_predictions("binary"))
    groups = (champion.groups[2], *champion.groups[1:])
    with pytest.raises(ValueError, match="different patients for the same images"):
        compare_predictions(champion, with_contents(champion, groups=groups))


def test_copies_of_one_image_are_paired_with_copies() -> None:
    contents = ("copy", "copy", *CONTENTS[2:])
    champion = with_contents(drawn_predictions("binary"), contents)
    assert compare_predictions(champion, champion.subset(range(119, -1, -1)), bootstrap=100).paired_by == "content"


def test_pairing_by_name_is_said() -> None:
    champion = drawn_predictions("binary")
    found = compare_predictions(with_contents(champion), champion, bootstrap=100)
    assert found.paired_by == "name" and "Note: Images were paired by name, label and patient" in str(found)
    assert found.to_dict()["paired_by"] == "name" and found.to_dict()["notes"] == list(found.notes)


# --- when a difference is said to be one


@pytest.mark.parametrize(("bootstrap", "level", "least"), [(1, 0.95, 100), (99, 0.95, 100), (150, 0.99, 199)])
def test_too_few_resamples_decide_nothing(bootstrap: int, level: float, least: int) -> None:
    champion = drawn_predictions("binary")
    with pytest.raises(ValueError, match=f"can decide nothing at level={level}; draw at least {least}"):
        compare_predictions(champion, improved(champion, 3.0), bootstrap=bootstrap, level=level)


def test_interval_and_p_value_agree_or_nothing_is_decided() -> None:
    verdicts = set()
    for seed in range(40):
        champion = drawn_predictions("binary", 60, seed=seed)
        noise = np.random.default_rng(seed).normal(scale=1.2, size=champion.logits.shape)
        challenger = improved(dataclasses.replace(champion, logits=champion.logits + noise), 0.9)
        for one in compare_predictions(champion, challenger, bootstrap=100).differences.values():
            outside = one.difference.low > 0 or one.difference.high < 0
            assert (one.verdict != "no difference shown") == (outside and one.p_value <= 0.05)
            verdicts.add((outside, one.p_value <= 0.05))
    assert (True, False) in verdicts  # the case that was decided before


def test_few_and_unknown_patients_are_said() -> None:
    few = drawn_predictions("binary", 24)
    assert any("Fewer than 10 patients of" in note for note in compare_predictions(few, few, bootstrap=100).notes)
    alone = dataclasses.replace(drawn_predictions("binary"), groups=drawn_predictions("binary").keys)
    assert any("No patients are known" in note for note in compare_predictions(alone, alone, bootstrap=100).notes)
    known = with_contents(drawn_predictions("binary"))
    assert compare_predictions(known, known, bootstrap=100).notes == ()
