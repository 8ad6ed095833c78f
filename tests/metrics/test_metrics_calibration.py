"""Temperature and thresholds are fitted on validation images, kept, and refused where they do not belong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_curve
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from monai_fpt.handlers._rows import PredictionRow
from monai_fpt.handlers.groups import grouped_rows
from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import FPTCalibration, fit_calibration, predictions_digest
from monai_fpt.metrics.calibration_error import fpt_calibration_error
from monai_fpt.metrics.operating import RULES, fpt_questions, fpt_thresholds
from monai_fpt.metrics.units import scored_units
from monai_fpt.metrics.weighted import decision_rates, weighted_area, weighted_calibration_error, weighted_kappa


def validation(
    classes: int = 3, images: int = 400, *, task: str = "multiclass", sharpness: float = 1.0, **changes: Any
) -> FPTPredictions:
    """Labels drawn from softmax (sigmoid) of logits, which are then sharpened: the best temperature is the sharpness."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(images, classes)) * 1.5
    if task == "multilabel":
        labels = (random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    else:
        odds = np.exp(logits)
        labels = np.array([random.choice(classes, p=row / row.sum()) for row in odds])
    keys = tuple(f"{n}.png" for n in range(images))
    names = tuple("abcdefg"[:classes])
    made = FPTPredictions(keys, keys, labels, logits * sharpness, names, task)
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_sharpness(task: str, sharpness: float) -> None:
    plain = fit_calibration(validation(task=task, images=3000)).temperature
    sharp = fit_calibration(validation(task=task, images=3000, sharpness=sharpness)).temperature

    assert plain == pytest.approx(1, abs=0.1)
    assert sharp == pytest.approx(plain * sharpness, rel=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_temperature_is_that_of_torch_s_optimiser(task: str) -> None:
    made = validation(task=task, sharpness=2.0)
    logits, labels = torch.tensor(made.logits), torch.tensor(made.labels)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_temperature], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        scaled = logits / log_temperature.exp()
        if task == "multilabel":
            return torch.nn.functional.binary_cross_entropy_with_logits(scaled, labels.double())
        return torch.nn.functional.cross_entropy(scaled, labels)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    fitted = fit_calibration(made)
    assert fitted.temperature == pytest.approx(float(log_temperature.detach().exp()), rel=1e-5)
    assert fitted.nll[1] == pytest.approx(float(loss().detach()), abs=1e-9)
    assert fitted.nll[1] < fitted.nll[0]


def test_where_every_image_is_right_the_temperature_stays_one() -> None:
    labels = np.arange(90) % 3
    fitted = fit_calibration(validation(images=90, labels=labels, logits=np.eye(3)[labels] * 0.1))

    assert fitted.temperature == 1
    assert any("every validation image is right" in remark for remark in fitted.remarks)


def test_where_logits_are_worse_than_nothing_the_temperature_stays_one() -> None:
    labels = np.arange(90) % 3
    fitted = fit_calibration(validation(images=90, labels=labels, logits=-np.eye(3)[labels]))

    assert fitted.temperature == 1
    assert any("say nothing of the labels" in remark for remark in fitted.remarks)


def rates(values: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_], at: float) -> tuple[float, float]:
    return float((values[truth] >= at).mean()), float((values[~truth] < at).mean())


@pytest.mark.parametrize("images", [30, 400])
def test_thresholds_keep_their_rules_and_are_the_best_that_do(images: int) -> None:
    made = validation(classes=2, images=images)
    values, truth = np.round(made.probabilities()[:, 1], 2), made.labels == 1
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    chosen = fpt_thresholds(values, truth)

    assert sum(rates(values, truth, chosen["youden"])) - 1 == pytest.approx((true_rate - false_rate).max())
    for wanted in (0.90, 0.95):
        sensitivity, specificity = rates(values, truth, chosen[f"sensitivity_{wanted:.2f}"])
        assert sensitivity >= wanted
        assert specificity == pytest.approx(1 - false_rate[true_rate >= wanted].min())
    sensitivity, specificity = rates(values, truth, chosen["specificity_0.90"])
    assert specificity >= 0.90
    assert sensitivity == pytest.approx(true_rate[1 - false_rate >= 0.90].max())
    assert not np.isin(list(chosen.values()), values).any()  # between values, not on one


def test_a_question_with_one_answer_has_no_threshold() -> None:
    labels = np.arange(80) % 2  # never class 2
    fitted = fit_calibration(validation(images=80, labels=labels))

    assert {name.rpartition("/")[0] for name in fitted.thresholds} == {"a", "b"}
    assert any("No thresholds for c" in remark for remark in fitted.remarks)


def test_questions_of_an_order_are_cumulative() -> None:
    first, second, last = fpt_questions(["no", "mild", "moderate", "severe"], task="multiclass", ordered=True)
    p = np.array([[0.1, 0.2, 0.3, 0.4]])

    assert [one.name for one in (first, second, last)] == ["mild or above", "moderate or above", "severe"]
    assert first.values(p)[0] == pytest.approx(0.9) and last.values(p)[0] == pytest.approx(0.4)
    assert second.positives(np.array([0, 1, 2, 3])).tolist() == [False, False, True, True]


def test_thresholds_are_of_calibrated_probabilities() -> None:
    made = validation(classes=2, sharpness=3.0)
    fitted = fit_calibration(made)
    values, truth = made.probabilities(fitted.temperature)[:, 1], made.labels == 1

    assert fitted.thresholds == {f"b/{rule}": at for rule, at in fpt_thresholds(values, truth).items()}
    assert [name.rpartition("/")[2] for name in fitted.thresholds] == list(RULES)


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    fitted = fit_calibration(validation(images=40))
    fitted.save(tmp_path / "calibration.json")

    assert FPTCalibration.load(tmp_path / "calibration.json") == fitted
    assert FPTCalibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    assert "40 images" in fitted.remarks[-1]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "other"}', '{"format": "monai_fpt calibration", "version": 9}']
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ValueError, match=r"c\.json' holds none .*evaluate the validation images again"):
        FPTCalibration.load(tmp_path / "c.json")


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"thresholds": {"a/youden": 1.5}},
        {"thresholds": {"a": 0.5}},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fit the calibration again"):
        FPTCalibration(**{"temperature": 1.0, **change})


@pytest.mark.parametrize("change", [{"classes": ("a", "b", "d")}, {"ordered": True}], ids=str)
def test_a_calibration_of_another_question_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fit it on validation predictions of the same model"):
        fit_calibration(validation()).require_fit(dataclasses.replace(validation(), **change), None)


def test_thresholds_of_images_do_not_judge_patients() -> None:
    with pytest.raises(ValueError, match="aggregate=None but the evaluation has aggregate='mean'"):
        fit_calibration(validation()).require_fit(validation(), "mean")


def test_the_digest_knows_images_and_logits_but_no_order() -> None:
    made = validation(images=20)

    assert predictions_digest(made) == predictions_digest(made.subset(range(19, -1, -1)))
    assert predictions_digest(made) != predictions_digest(dataclasses.replace(made, logits=made.logits * 1.1))
    assert predictions_digest(made) != predictions_digest(made.subset(range(19)))


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_patients_are_put_together_as_in_an_evaluation(task: str, aggregate: str) -> None:
    made = validation(images=30, task=task, groups=tuple(f"p{n // 3}" for n in range(30)))
    if task == "multiclass":
        made = dataclasses.replace(made, labels=np.repeat(made.labels[::3], 3))
    rows = [
        PredictionRow(key, tuple(p), tuple(label) if task == "multilabel" else int(label), group)
        for key, p, label, group in zip(
            made.keys, made.probabilities().tolist(), made.labels.tolist(), made.groups, strict=True
        )
    ]
    expected = grouped_rows(rows, aggregate, task)
    units = scored_units(made, aggregate=aggregate)

    np.testing.assert_allclose(units.probabilities, [row.probabilities for row in expected], atol=1e-12)
    assert units.labels.tolist() == [list(row.label) if task == "multilabel" else row.label for row in expected]  # type: ignore[arg-type]
    assert units.patients.tolist() == list(range(10))


def test_images_of_a_patient_with_different_labels_have_no_patient() -> None:
    made = validation(images=4, labels=np.array([0, 1, 0, 0]), groups=("p", "p", "q", "q"))
    with pytest.raises(ValueError, match=r"1 patients or groups have images of different labels .*group_column"):
        scored_units(made, aggregate="mean")
    with pytest.raises(ValueError, match="aggregate='median' is not one of mean, max"):
        scored_units(made, aggregate="median")


@pytest.mark.parametrize("classes", [2, 5])
def test_the_calibration_error_is_torchmetrics(classes: int) -> None:
    made = validation(classes=classes, sharpness=2.0)
    p, labels = torch.tensor(made.probabilities()), torch.tensor(made.labels)
    if classes == 2:
        expected = binary_calibration_error(p[:, 1], labels, n_bins=15)
        confidences, right = p[:, 1].numpy(), made.labels == 1
    else:
        expected = multiclass_calibration_error(p, labels, num_classes=classes, n_bins=15)
        confidences, right = p.max(1).values.numpy(), p.argmax(1).numpy() == made.labels
    ours = weighted_calibration_error(confidences, right, np.ones((1, len(made))))[0]

    assert fpt_calibration_error(p, labels, task="multiclass") == pytest.approx(float(expected), abs=1e-12)
    assert ours == pytest.approx(float(expected), abs=1e-6)  # torchmetrics' most probable class is float32


@pytest.mark.parametrize("edge", [0.0, 1.0, 0.2])
def test_the_calibration_error_agrees_at_the_edges_of_bins(edge: float) -> None:
    confidences = np.array([edge, 0.5, 0.7])
    right = np.array([True, False, True])
    expected = binary_calibration_error(torch.tensor(confidences), torch.tensor(right).long(), n_bins=15)

    assert weighted_calibration_error(confidences, right, np.ones((1, 3)))[0] == pytest.approx(
        float(expected), abs=1e-9
    )


def test_scores_of_nothing_are_undefined() -> None:
    nothing = np.zeros((2, 0))
    assert np.isnan(weighted_area(np.zeros(0), np.zeros(0, dtype=bool), nothing)).all()
    assert np.isnan(weighted_kappa(np.array([[[3.0, 0.0], [0.0, 0.0]]]))).all()
    assert np.isnan(decision_rates(np.zeros((1, 2, 2)))["accuracy"]).all()
