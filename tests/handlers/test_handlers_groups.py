"""Scores per patient: the images' probabilities are put together as said, and nothing that differs is put together."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ignite.engine import Events
from sklearn.metrics import roc_auc_score

from monai_fpt.handlers import FPTGroupScores
from monai_fpt.handlers._rows import PredictionRow
from monai_fpt.handlers.groups import grouped_rows


def image(key: str, group: str | None, probabilities: tuple[float, ...], label: Any) -> PredictionRow:
    return PredictionRow(key=key, probabilities=probabilities, label=label, group=group)


def test_the_mean_of_a_patient_s_images_is_the_patient_s_probability() -> None:
    rows = [image("a", "p", (0.9, 0.1), 1), image("b", "q", (0.2, 0.8), 0), image("c", "p", (0.5, 0.5), 1)]
    (p, q) = grouped_rows(rows, "mean", "multiclass")
    assert (p.key, p.label) == ("p", 1) and np.allclose(p.probabilities, (0.7, 0.3))
    assert (q.key, q.label) == ("q", 0) and q.probabilities == (0.2, 0.8)


def test_the_largest_values_still_add_up_to_one() -> None:
    (p,) = grouped_rows([image("a", "p", (0.9, 0.1), 1), image("b", "p", (0.4, 0.6), 1)], "max", "multiclass")
    assert np.allclose(p.probabilities, (0.9 / 1.5, 0.6 / 1.5))


def test_findings_of_any_image_are_the_patient_s() -> None:
    rows = [image("a", "p", (0.9, 0.1), (1, 0)), image("b", "p", (0.4, 0.6), (0, 0))]
    (p,) = grouped_rows(rows, "max", "multilabel")
    assert p.label == (1, 0) and p.probabilities == (0.9, 0.6)


def test_an_image_without_a_patient_is_one_of_its_own() -> None:
    rows = [image("a", None, (0.9, 0.1), 1), image("b", None, (0.4, 0.6), 1)]
    assert len(grouped_rows(rows, "mean", "multiclass")) == 2


def test_one_patient_with_two_labels_is_refused() -> None:
    rows = [image("a", "p", (0.9, 0.1), 1), image("b", "p", (0.4, 0.6), 0)]
    with pytest.raises(
        ValueError, match=r"different labels .* \(first image a\); leave aggregate out, or name a group_column"
    ):
        grouped_rows(rows, "mean", "multiclass")


@pytest.mark.parametrize("aggregate", ["median", None, True])
def test_an_unknown_aggregate_is_refused(tmp_path: Path, aggregate: Any) -> None:
    with pytest.raises(ValueError, match="is not one of mean, max"):
        FPTGroupScores(tmp_path / "a.csv", ["x", "y"], aggregate=aggregate)


def test_the_scores_and_the_table_are_of_patients(tmp_path: Path) -> None:
    from ignite.engine import Engine

    random = np.random.default_rng(0)
    patients = [f"p{n}" for n in range(10)]
    labels = {name: n % 2 for n, name in enumerate(patients)}
    samples = []
    for n in range(30):
        positive = float(random.uniform())
        name = patients[n % 10]
        samples.append(
            {"key": f"{n}.png", "group": name, "label": labels[name], "pred": np.array([1 - positive, positive])}
        )

    def step(engine: Any, batch: Any) -> Any:
        engine.state.output = batch
        return batch

    engine = Engine(step)
    FPTGroupScores(tmp_path / "patients.csv", ["x", "y"], aggregate="mean").attach(engine)
    seen: dict[str, float] = {}
    engine.add_event_handler(Events.COMPLETED, lambda e: seen.update(e.state.metrics))
    engine.run([samples[:16], samples[16:]], max_epochs=1)

    means = [np.mean([s["pred"][1] for s in samples if s["group"] == name]) for name in patients]
    assert seen["patient_auc"] == pytest.approx(roc_auc_score([labels[name] for name in patients], means), abs=1e-9)
    with open(tmp_path / "patients.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == patients
    assert [float(row["y"]) for row in rows] == pytest.approx(means, abs=1e-7)
