"""An evaluation says what it rests on: subgroups, notes, limits, patients; and refuses what would mislead."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from report_toys import KINDS, drawn_predictions
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_auc_score

from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import fit_calibration
from monai_fpt.report import FPTEvaluation, FPTSubgroup, evaluate_predictions, worst_errors
from monai_fpt.report.curves import reliability_of
from monai_fpt.report.subgroups import groups_of_column


def with_facts(predictions: FPTPredictions, **facts: list[str]) -> FPTPredictions:
    return dataclasses.replace(predictions, facts={name: tuple(values) for name, values in facts.items()})


def group(evaluation: FPTEvaluation, column: str, value: str) -> FPTSubgroup:
    (found,) = [one for one in evaluation.subgroups if (one.column, one.value) == (column, value)]
    return found


def notes(evaluation: FPTEvaluation) -> str:
    return "\n".join(text for _, text in evaluation.notes)


def test_a_subgroup_is_scored_as_if_it_were_all() -> None:
    predictions = drawn_predictions("binary")
    women = [row for row, sex in enumerate(predictions.facts["sex"]) if sex == "f"]
    found = group(evaluate_predictions(predictions, bootstrap=50), "sex", "f")

    expected = roc_auc_score(predictions.labels[women], predictions.probabilities()[women, 1])
    assert found.scores["auc"].value == pytest.approx(expected, abs=1e-12)
    assert found.scores["auc"].low < expected < found.scores["auc"].high
    assert found.images == len(women) and sum(found.counts) == len(women)


def test_every_image_is_in_one_group_of_each_column() -> None:
    evaluation = evaluate_predictions(drawn_predictions("binary"), bootstrap=0)
    for column in ("sex", "age"):
        assert sum(one.images for one in evaluation.subgroups if one.column == column) == 120
    assert [one.value for one in evaluation.subgroups if one.column == "sex"] == ["f", "m", "unknown"]


def test_small_groups_and_groups_of_one_class_are_shown_without_scores() -> None:
    predictions = drawn_predictions("binary")
    site = ["small" if n < 9 else "benign only" if label == 0 else "rest" for n, label in enumerate(predictions.labels)]
    evaluation = evaluate_predictions(with_facts(predictions, site=site), bootstrap=0)

    assert group(evaluation, "site", "small").reason == "fewer than 10"
    assert group(evaluation, "site", "benign only").reason == "one class only"
    assert not group(evaluation, "site", "small").scores
    assert "small" in str(evaluation) and "fewer than 10" in str(evaluation)


def test_a_mean_over_fewer_classes_says_so() -> None:
    predictions = drawn_predictions("multiclass")
    site = ["north" if label < 2 else "south" for label in predictions.labels]
    site[:40] = ["south"] * 40
    evaluation = evaluate_predictions(with_facts(predictions, site=site), bootstrap=0)

    assert group(evaluation, "site", "north").remark == "2 of 3 classes"
    assert "north (2 of 3 classes)" in str(evaluation)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("Patient Age", ["19.9", "020Y", "600D", "18M", "x"], ["under 20", "20 to 39", "under 20", "under 20", "x"]),
        ("image", ["1", "2", "1"], ["1", "2", "1"]),
        ("stage", ["1", "", "nan"], ["1", "unknown", "unknown"]),
        (
            "dose",
            [str(n) for n in range(16)],
            [f"{a} to {b}" for a, b in ((0, 3), (4, 7), (8, 11), (12, 15)) for _ in range(4)],
        ),
    ],
    ids=["age", "few numbers", "unknown", "many numbers"],
)
def test_values_become_groups(name: str, values: list[str], expected: list[str]) -> None:
    assert groups_of_column(name, values) == expected


def test_a_column_of_many_values_is_left_out_unless_asked_for() -> None:
    predictions = with_facts(drawn_predictions("binary"), camera=[f"model {n}" for n in range(120)], same=["x"] * 120)
    evaluation = evaluate_predictions(predictions, bootstrap=0)

    assert evaluation.subgroups == ()
    assert "No subgroups by camera: it has 120 values" in notes(evaluation)
    assert "No subgroups by same: all images have the value 'x'" in notes(evaluation)
    assert len(evaluate_predictions(predictions, bootstrap=0, subgroups=["camera"]).subgroups) == 120
    with pytest.raises(ValueError, match=r"nothing called site is known of the images \(known: camera, same\)"):
        evaluate_predictions(predictions, subgroups=["site"])


def test_a_patient_whose_images_differ_is_in_a_group_of_its_own() -> None:
    predictions = drawn_predictions("binary", per_patient=2)
    eye = ["left", "right"] * 30 + ["left", "left"] * 30
    evaluation = evaluate_predictions(with_facts(predictions, eye=eye), aggregate="mean", bootstrap=0)

    assert {one.value: one.images for one in evaluation.subgroups} == {"left": 30, "several": 30}


def test_patients_are_scored_where_asked_for() -> None:
    predictions = drawn_predictions("binary")
    evaluation = evaluate_predictions(predictions, aggregate="mean", bootstrap=20)
    p = predictions.probabilities()[:, 1].reshape(60, 2).mean(axis=1)

    assert evaluation.scores["auc"].value == pytest.approx(roc_auc_score(predictions.labels[::2], p), abs=1e-12)
    assert sum(evaluation.counts) == 60 and evaluation.units == "patients"
    assert "official_auc" not in evaluation.scores  # it is of images
    assert "120 images of 60 patients, put together by mean" in str(evaluation)


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_all_or_nothing_has_the_exact_interval(right: bool) -> None:
    labels = np.repeat([0, 1], [30, 20])
    logits = np.eye(2)[labels if right else 1 - labels]
    keys = tuple(map(str, range(50)))
    scores = evaluate_predictions(FPTPredictions(keys, keys, labels, logits, ("no", "yes")), bootstrap=50).scores
    for name, patients in (("accuracy", 50), ("sensitivity/yes", 20), ("specificity/yes", 30)):
        expected = binomtest(patients if right else 0, patients).proportion_ci(0.95, method="exact")
        assert (scores[name].low, scores[name].high) == pytest.approx((expected.low, expected.high), abs=1e-9), name


def test_exact_intervals_count_patients() -> None:
    labels = np.repeat([0, 1], [30, 20])
    keys = tuple(map(str, range(50)))
    groups = tuple(str(n // 5) for n in range(50))
    scores = evaluate_predictions(
        FPTPredictions(keys, groups, labels, np.eye(2)[labels], ("a", "b")), bootstrap=9
    ).scores

    assert scores["sensitivity/b"].low == pytest.approx(0.025 ** (1 / 4))


def test_a_perfect_auc_is_not_called_certain() -> None:
    labels = np.repeat([0, 1], [30, 20])
    keys = tuple(map(str, range(50)))
    evaluation = evaluate_predictions(FPTPredictions(keys, keys, labels, np.eye(2)[labels], ("a", "b")), bootstrap=9)

    assert math.isnan(evaluation.scores["auc"].low) and "AUC 1.000 (no interval)" in str(evaluation)
    assert "No resample differs in auc, average_precision, balanced_accuracy, f1" in notes(evaluation)


def test_notes_say_what_the_numbers_rest_on() -> None:
    predictions = drawn_predictions("multiclass", 30)
    alone = dataclasses.replace(predictions, groups=predictions.keys, labels=np.array([0] * 25 + [1] * 5))
    said = notes(evaluate_predictions(alone, bootstrap=20))

    assert "No patients are known" in said
    assert "There is no image of severe" in said
    assert "Fewer than 10 patients of mild (5)" in said and "drawn among themselves" in said
    assert "No validation predictions were at hand" in said
    assert "No resamples were drawn" in notes(evaluate_predictions(alone, bootstrap=0))


def test_a_calibration_on_the_very_images_is_named() -> None:
    predictions = drawn_predictions("binary")
    own = evaluate_predictions(predictions, calibration=fit_calibration(predictions), bootstrap=0)
    other = evaluate_predictions(
        predictions, calibration=fit_calibration(drawn_predictions("binary", seed=1, name="other")), bootstrap=0
    )

    assert "chosen on these very images" in notes(own) and "very images" not in notes(other)


def test_one_class_alone_is_evaluated_without_auc() -> None:
    predictions = dataclasses.replace(drawn_predictions("binary"), labels=np.zeros(120, dtype=int))
    evaluation = evaluate_predictions(predictions, bootstrap=10)

    assert math.isnan(evaluation.scores["auc"].value) and not math.isnan(evaluation.scores["accuracy"].value)
    assert "No AUC (one class only)" in str(evaluation)
    assert json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))["scores"]["auc"]["value"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_confusion_and_reliability_are_counts(kind: str) -> None:
    predictions = drawn_predictions(kind)
    evaluation = evaluate_predictions(predictions, bootstrap=0)
    p, labels = predictions.probabilities(), predictions.labels
    if kind == "multilabel":
        expected = [confusion_matrix(labels[:, k], p[:, k] >= 0.5).tolist() for k in range(3)]
    else:
        expected = [confusion_matrix(labels, p.argmax(1)).tolist()]

    assert [[list(row) for row in table] for table in evaluation.confusion] == expected
    assert sum(evaluation.reliability.counts) == (360 if kind == "multilabel" else 120)
    for share, low, high in zip(
        evaluation.reliability.observed, evaluation.reliability.low, evaluation.reliability.high, strict=True
    ):
        assert low <= share <= high


def test_reliability_intervals_are_wilson_s() -> None:
    from monai_fpt.metrics.units import scored_units

    units = scored_units(drawn_predictions("binary", 45))
    found = reliability_of(units, units.probabilities)
    ranked = units.labels[np.argsort(units.probabilities[:, 1], kind="stable")].reshape(3, 15)

    assert found.counts == (15, 15, 15)
    for place, part in enumerate(ranked):
        expected = binomtest(int(part.sum()), 15).proportion_ci(0.95, method="wilson")
        assert (found.low[place], found.high[place]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_curves_are_thinned_but_keep_their_ends() -> None:
    evaluation = evaluate_predictions(drawn_predictions("binary", 3000), bootstrap=0)
    (curve,) = evaluation.curves
    dense = np.array(curve.roc)

    assert len(curve.roc) <= 200 and curve.roc[0] == (0, 0) and curve.roc[-1] == (1, 1)
    area = float(np.trapezoid(dense[:, 1], dense[:, 0]))
    assert area == pytest.approx(evaluation.scores["auc"].value, abs=0.01)


def test_neither_keys_nor_patients_are_in_the_evaluation() -> None:
    predictions = drawn_predictions("binary", name="Anna Muster ")
    calibration = fit_calibration(drawn_predictions("binary", seed=1, name="Berta Beispiel "))
    evaluation = evaluate_predictions(predictions, calibration=calibration, bootstrap=5)

    for text in (str(evaluation), json.dumps(evaluation.to_dict()), repr(evaluation)):
        assert "Anna" not in text and "Berta" not in text


def test_metrics_are_flat_numbers_for_a_tracker() -> None:
    metrics = evaluate_predictions(drawn_predictions("multiclass"), bootstrap=20).metrics()

    assert {"auc", "auc_low", "auc_high", "sensitivity/severe"} <= set(metrics)
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    "options", [{"bootstrap": -1}, {"level": 1.0}, {"level": 95}, {"aggregate": "median"}], ids=str
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        evaluate_predictions(drawn_predictions("binary"), **options)


def test_nothing_is_not_scored() -> None:
    with pytest.raises(ValueError, match="there are no predictions to score"):
        evaluate_predictions(drawn_predictions("binary").subset([]))


def test_the_worst_errors_are_the_surest_wrong_ones() -> None:
    predictions = drawn_predictions("binary")
    p = predictions.probabilities()
    wrong = p.argmax(1) != predictions.labels
    errors = worst_errors(predictions, most=5)
    expected = sorted(p.max(1)[wrong], reverse=True)[:5]

    assert [error.confidence for error in errors] == pytest.approx(expected)
    for error in errors:
        row = predictions.keys.index(error.key)
        assert wrong[row] and error.label == predictions.classes[predictions.labels[row]]
        assert error.decision != error.label and error.patient == row // 2 + 1


def test_the_worst_error_of_findings_names_the_finding() -> None:
    logits = np.array([[3.0, -2.0], [-1.0, -4.0]])
    predictions = FPTPredictions(
        ("a", "b"), ("a", "b"), np.array([[1, 0], [0, 1]]), logits, ("effusion", "mass"), "multilabel"
    )
    (error,) = worst_errors(predictions)

    assert (error.key, error.label, error.decision, error.detail) == ("b", "mass", "none", "mass")
    assert error.confidence == pytest.approx(1 / (1 + math.exp(-4)))


def test_the_picture_of_a_patient_is_its_most_misleading_image() -> None:
    logits = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 0.0]])
    predictions = FPTPredictions(("a", "b", "c"), ("p", "p", "q"), np.array([0, 0, 0]), logits, ("no", "yes"))

    assert [error.key for error in worst_errors(predictions, aggregate="mean")] == ["b"]
