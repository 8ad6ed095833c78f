"""Every score is scikit-learn's (torchmetrics' for the calibration error), of the data set and of each resample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from report_toys import KINDS, drawn_predictions
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
    multilabel_auroc,
)

from monai_fpt.metrics import FPTPredictions, classification_scores, official_auc
from monai_fpt.metrics.calibration import fit_calibration
from monai_fpt.metrics.units import scored_units
from monai_fpt.report import FPTEvaluation, evaluate_predictions
from monai_fpt.report.measure import measured, measured_questions
from monai_fpt.report.resample import resampled_weights
from monai_fpt.report.score import scores_of

Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def without_comments() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=KINDS)
def predictions(request: pytest.FixtureRequest) -> FPTPredictions:
    return drawn_predictions(request.param)


def independent_scores(predictions: FPTPredictions) -> dict[str, float]:
    """The scores by scikit-learn and torchmetrics, as a reader of their manuals would compute them."""
    p, y = predictions.probabilities(), predictions.labels
    found = dict(classification_scores(p, y, task=predictions.task, logits=predictions.logits))
    count = p.shape[1]
    if predictions.task == "multilabel":
        found["auc"] = sk.roc_auc_score(y, p, average="macro")
        found["average_precision"] = sk.average_precision_score(y, p, average="macro")
        found["f1"] = sk.f1_score(y, p >= 0.5, average="macro", zero_division=0)
        found["brier"] = float(np.mean([sk.brier_score_loss(y[:, k], p[:, k]) for k in range(count)]))
        found["nll"] = float(np.mean([sk.log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(count)]))
        pairs = [(torch.tensor(p[:, k].copy()), torch.tensor(y[:, k].copy())) for k in range(count)]
        found["ece"] = float(np.mean([binary_calibration_error(a, b, n_bins=15) for a, b in pairs]))
        decided = (p >= 0.5).astype(int)
        columns = [(y[:, k], decided[:, k], p[:, k]) for k in range(count)]
    else:
        decided = p.argmax(axis=1)
        found["f1"] = sk.f1_score(y, decided, average="macro")
        found["kappa"] = sk.cohen_kappa_score(y, decided, weights="quadratic", labels=range(count))
        found["brier"] = (
            sk.brier_score_loss(y, p, labels=range(count)) if count > 2 else sk.brier_score_loss(y, p[:, 1])
        )
        found["nll"] = sk.log_loss(y, p, labels=range(count))
        scores, labels = torch.tensor(p), torch.tensor(y)
        if count == 2:
            found["auc"] = sk.roc_auc_score(y, p[:, 1])
            found["average_precision"] = sk.average_precision_score(y, p[:, 1])
            found["ece"] = float(binary_calibration_error(scores[:, 1], labels, n_bins=15))
        else:
            found["auc"] = sk.roc_auc_score(y, p, average="macro", multi_class="ovr")
            found["ece"] = float(multiclass_calibration_error(scores, labels, num_classes=count, n_bins=15))
        columns = [((y == k).astype(int), (decided == k).astype(int), p[:, k]) for k in range(count)]
    for k, (name, (truth, called, values)) in enumerate(zip(predictions.classes, columns, strict=True)):
        if count > 2:
            found[f"auc/{name}"] = sk.roc_auc_score(truth, values)
            found[f"average_precision/{name}"] = sk.average_precision_score(truth, values)
        if count > 2 or k == 1:
            found[f"sensitivity/{name}"] = sk.recall_score(truth, called)
            found[f"specificity/{name}"] = sk.recall_score(1 - truth, 1 - called)
            found[f"f1/{name}"] = sk.f1_score(truth, called)
    return found


def test_the_values_are_those_of_scikit_learn_and_torchmetrics(predictions: FPTPredictions) -> None:
    scores = evaluate_predictions(predictions, bootstrap=0).scores
    expected = independent_scores(predictions)

    assert set(scores) == set(expected)
    for name, value in expected.items():
        assert scores[name].value == pytest.approx(value, abs=1e-6), name


def test_each_resample_is_the_data_set_of_its_images(predictions: FPTPredictions) -> None:
    """Rows of weights against scikit-learn on images repeated as often."""
    units = scored_units(predictions)
    weights = np.concatenate(list(resampled_weights(units, 5, seed=3)))
    ours = measured(units, weights, logits=predictions.logits, calibrated=False)
    for row in range(1, 6):
        rows = np.repeat(np.arange(len(predictions)), weights[row].astype(int))
        expected = independent_scores(repeated(predictions, rows))
        for name, value in expected.items():
            assert ours[name][row] == pytest.approx(value, abs=1e-6), (row, name)


def repeated(predictions: FPTPredictions, rows: npt.NDArray[np.int64]) -> FPTPredictions:
    return FPTPredictions(
        keys=tuple(str(number) for number in range(len(rows))),
        groups=tuple(str(number) for number in range(len(rows))),
        labels=predictions.labels[rows],
        logits=predictions.logits[rows],
        classes=predictions.classes,
        task=predictions.task,
        ordered=predictions.ordered,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rates_at_a_threshold_are_counted(kind: str) -> None:
    predictions = drawn_predictions(kind)
    calibration = fit_calibration(drawn_predictions(kind, seed=1))
    scores = evaluate_predictions(predictions, calibration=calibration, bootstrap=0).scores
    p = predictions.probabilities(calibration.temperature)
    positives = {
        "binary": {"malignant": [1]},
        "ordered": {"mild or above": [1, 2], "severe": [2]},
    }.get(kind, {name: [k] for k, name in enumerate(predictions.classes)})
    assert {name.rpartition("/")[0] for name in calibration.thresholds} == set(positives)
    for name, at in calibration.thresholds.items():
        members = positives[name.rpartition("/")[0]]
        called = p[:, members].sum(axis=1) >= at
        truth = predictions.labels[:, members[0]] == 1 if kind == "multilabel" else np.isin(predictions.labels, members)
        (tn, fp), (fn, tp) = sk.confusion_matrix(truth, called, labels=[False, True])
        for score, right, wrong in (("sensitivity", tp, fn), ("specificity", tn, fp), ("ppv", tp, fp), ("npv", tn, fn)):
            expected = right / (right + wrong) if right + wrong else math.nan
            assert scores[f"{score}/{name}"].value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_authors_auc_is_that_of_raw_logits() -> None:
    predictions = drawn_predictions("multiclass")
    one_hot = np.eye(3)[predictions.labels]
    expected = sk.roc_auc_score(one_hot, predictions.logits, average="macro")
    score = evaluate_predictions(predictions, bootstrap=50).scores["official_auc"]

    assert score.value == pytest.approx(expected, abs=1e-12)
    assert score.value == official_auc(predictions.logits, predictions.labels)
    assert score.value != evaluate_predictions(predictions, bootstrap=0).scores["auc"].value
    assert score.low < score.value < score.high


def test_calibrated_scores_are_of_tempered_probabilities() -> None:
    predictions = drawn_predictions("multilabel")
    calibration = fit_calibration(drawn_predictions("multilabel", seed=1))
    scores = evaluate_predictions(predictions, calibration=calibration, bootstrap=0).scores
    tempered = torch.sigmoid(torch.tensor(predictions.logits / calibration.temperature))
    expected = torch.nn.functional.binary_cross_entropy(tempered, torch.tensor(predictions.labels).double())

    assert scores["nll_calibrated"].value == pytest.approx(float(expected), abs=1e-9)
    assert scores["nll_calibrated"].value < scores["nll"].value
    assert scores["auc"].value == pytest.approx(
        float(multilabel_auroc(tempered, torch.tensor(predictions.labels), num_labels=3)), abs=1e-6
    )


def test_the_same_seed_gives_the_same_intervals_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = drawn_predictions("multiclass")

    def intervals(evaluation: FPTEvaluation) -> dict[str, tuple[float, float]]:
        return {name: (score.low, score.high) for name, score in evaluation.scores.items()}

    first = intervals(evaluate_predictions(predictions, bootstrap=60))
    monkeypatch.setattr("monai_fpt.report.resample._CELLS", 7 * len(predictions))
    second = intervals(evaluate_predictions(predictions, bootstrap=60))
    other = intervals(evaluate_predictions(predictions, bootstrap=60, seed=1))
    assert second == {name: pytest.approx(ends, abs=1e-9) for name, ends in first.items()}
    assert first != other


def test_patients_are_drawn_whole_and_rare_classes_among_themselves() -> None:
    predictions = drawn_predictions("multiclass", 30, per_patient=3)  # ten patients
    units = scored_units(predictions)
    weights = np.concatenate(list(resampled_weights(units, 40, seed=0)))[1:]

    assert (weights[:, 0::3] == weights[:, 1::3]).all() and (weights[:, 0::3] == weights[:, 2::3]).all()
    for k in range(3):
        assert set(weights[:, predictions.labels == k].sum(axis=1)) == {float((predictions.labels == k).sum())}
    assert evaluate_predictions(predictions, bootstrap=5).stratified


def test_with_many_patients_class_counts_vary() -> None:
    predictions = drawn_predictions("binary", 200)
    weights = np.concatenate(list(resampled_weights(scored_units(predictions), 40, seed=0)))[1:]

    assert len(set(weights[:, predictions.labels == 1].sum(axis=1))) > 10
    assert set(weights.sum(axis=1)) == {200.0}
    assert not evaluate_predictions(predictions, bootstrap=5).stratified


def test_intervals_over_patients_are_wider_than_over_images() -> None:
    """Ten copies of each image as one patient hold no more than the image."""
    single = drawn_predictions("binary", 60, per_patient=1)
    rows = np.repeat(np.arange(60), 10)
    copies = repeated(single, rows)
    by_patient = FPTPredictions(
        copies.keys, tuple(str(row) for row in rows), copies.labels, copies.logits, copies.classes
    )

    def width(predictions: FPTPredictions) -> float:
        score = evaluate_predictions(predictions, bootstrap=400).scores["auc"]
        return score.high - score.low

    assert width(by_patient) == pytest.approx(width(single), rel=0.15)
    assert width(by_patient) > 2.5 * width(copies)


@pytest.mark.slow
def test_about_95_of_100_intervals_hold_the_truth() -> None:
    truth = evaluate_predictions(drawn_predictions("binary", 40_000, per_patient=1), bootstrap=0).scores["auc"].value
    held = 0
    for seed in range(300):
        score = evaluate_predictions(
            drawn_predictions("binary", 100, per_patient=1, seed=seed + 1), bootstrap=300, subgroups=()
        ).scores["auc"]
        held += score.low <= truth <= score.high

    assert 0.91 < held / 300 < 0.98


def test_a_class_that_vanishes_from_resamples_is_counted_out() -> None:
    drawn = {"auc": np.array([0.8, 0.7, np.nan, 0.9]), "f1": np.array([0.5, np.nan, np.nan, 0.5])}
    scores = scores_of(drawn, 0.95)

    assert scores["auc"].usable == 2 and 0.7 < scores["auc"].low < 0.75
    assert scores["f1"].usable == 1 and math.isnan(scores["f1"].low)
    assert "null" not in str(scores["f1"]) and scores["f1"].to_dict()["low"] is None


def test_a_mean_over_classes_needs_them_all() -> None:
    predictions = drawn_predictions("multiclass", 30)
    units = scored_units(predictions)
    without = np.where(predictions.labels == 2, 0.0, 1.0)[None]
    found = measured(units, np.concatenate([np.ones((1, 30)), without]), logits=None, calibrated=False)

    assert not np.isnan([found["auc"][0], found["balanced_accuracy"][0]]).any()
    assert np.isnan([found["auc"][1], found["balanced_accuracy"][1], found["average_precision"][1]]).all()


def test_an_interval_of_the_calibration_error_holds_its_value() -> None:
    """A resample is more uneven than its data set; without a shift the interval would lie above the value."""
    random = np.random.default_rng(0)
    p = random.uniform(size=2000)
    labels = (random.uniform(size=2000) < p).astype(np.int64)
    logits = np.stack([np.zeros(2000), np.log(p / (1 - p))], axis=1)
    keys = tuple(map(str, range(2000)))
    score = evaluate_predictions(FPTPredictions(keys, keys, labels, logits, ("a", "b")), bootstrap=200).scores["ece"]

    assert score.low <= score.value <= score.high < 0.05


def test_measured_questions_know_only_their_own_thresholds() -> None:
    units = scored_units(drawn_predictions("binary"))
    assert measured_questions(units, np.ones((1, len(units))), {"benign/youden": 0.5}) == {}
