"""Predictions come back as they were kept, and nothing that does not fit is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_fpt.metrics import FPTPredictions


def predictions(task: str = "multiclass") -> FPTPredictions:
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 3))
    labels = random.integers(0, 2, (6, 3)) if task == "multilabel" else np.array([0, 1, 2, 0, 1, 2])
    keys = tuple(f"{n}.png" for n in range(6))
    facts = {"sex": ("m", "f", "", "m", "f", "m")}
    return FPTPredictions(keys, ("a", "a", "b", "c", "d", "d"), labels, logits, ("x", "y", "z"), task, facts=facts)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_what_is_saved_is_read(tmp_path: Path, task: str) -> None:
    made = predictions(task)
    made.save(tmp_path / "p.json")
    read = FPTPredictions.load(tmp_path / "p.json")
    assert np.array_equal(read.logits, made.logits) and np.array_equal(read.labels, made.labels)
    assert (read.keys, read.groups, read.classes, read.facts) == (made.keys, made.groups, made.classes, made.facts)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_those_of_torch(temperature: float) -> None:
    for task, function in (("multiclass", lambda x: x.softmax(1)), ("multilabel", torch.sigmoid)):
        made = predictions(task)
        expected = function(torch.tensor(made.logits / temperature)).numpy()
        np.testing.assert_allclose(made.probabilities(temperature), expected, atol=1e-12)


def test_a_subset_keeps_rows_together() -> None:
    part = predictions().subset([4, 0])
    assert part.keys == ("4.png", "0.png") and part.groups == ("d", "a") and part.facts == {"sex": ("f", "m")}
    assert part.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"keys": ("0.png",) * 6},
        {"groups": ("a",)},
        {"logits": np.full((6, 3), np.nan)},
        {"labels": np.array([0, 1, 2, 0, 1, 3])},
        {"facts": {"sex": ("m",)}},
        {"task": "regression"},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(predictions(), **change)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "other", "version": 1}', '{"format": "monai_fpt predictions", "version": 9}']
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ValueError, match=r"p\.json' holds none .*evaluate the model again"):
        FPTPredictions.load(tmp_path / "p.json")
