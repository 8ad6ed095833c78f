"""A training killed at any moment and resumed is, bit for bit, the training that was never killed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from toy_training import Toy, run_until

from monai_fpt.handlers import FPTEpochSeedHandler


@pytest.mark.parametrize(
    ("options", "cut"),
    [
        pytest.param({}, 13, id="killed in the fourth epoch"),
        pytest.param({}, 12, id="killed before the third epoch was saved"),
        pytest.param({"epoch_length": 3}, 11, id="epochs shorter than the loader"),
        pytest.param({"workers": 1, "epochs": 3}, 6, id="transforms in worker processes"),
    ],
)
def test_resumed_equals_uninterrupted(
    tmp_path: Path, toy: Callable[..., Toy], options: dict[str, Any], cut: int
) -> None:
    straight = toy(tmp_path / "straight", **options)
    straight.trainer.run()

    run_until(toy(tmp_path / "broken", **options), cut)
    resumed = toy(tmp_path / "broken", resume=True, **options)
    resumed.trainer.run()

    assert len(resumed.seen) < len(straight.seen)
    assert resumed.seen == straight.seen[-len(resumed.seen) :]
    assert torch.equal(resumed.weights(), straight.weights())
    assert resumed.scheduler.state_dict() == straight.scheduler.state_dict()
    assert resumed.checkpoint.best_metric == straight.checkpoint.best_metric
    assert resumed.checkpoint.best_epoch == straight.checkpoint.best_epoch
    assert resumed.evaluator.state.best_metric_epoch == straight.evaluator.state.best_metric_epoch
    for name in ("model.pt", "last.pt"):
        ours = torch.load(tmp_path / "broken" / name, weights_only=True)
        theirs = torch.load(tmp_path / "straight" / name, weights_only=True)
        ours, theirs = ours.get("network", ours), theirs.get("network", theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_finished_training_trains_nothing_and_says_so(
    tmp_path: Path, toy: Callable[..., Toy], caplog: pytest.LogCaptureFixture
) -> None:
    first = toy(tmp_path, epochs=2)
    first.trainer.run()
    again = toy(tmp_path, epochs=2, resume=True)
    with caplog.at_level("INFO", logger="monai_fpt"):
        again.trainer.run()
    assert again.seen == []
    assert torch.equal(again.weights(), first.weights())
    assert "finished 2 of 2 epochs: nothing is left to train" in caplog.text


def test_without_resume_a_training_starts_anew(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    first = toy(tmp_path, epochs=1)
    first.trainer.run()
    again = toy(tmp_path, epochs=1, resume=False)
    again.trainer.run()
    assert again.seen == first.seen


def test_seeds_differ_between_epochs_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = FPTEpochSeedHandler(seed=0)
    found = {handler.epoch_seeds(epoch) for epoch in range(1, 20)}
    monkeypatch.setenv("RANK", "1")
    found |= {handler.epoch_seeds(epoch) for epoch in range(1, 20)}
    assert len(found) == 38


def test_every_generator_is_seeded(toy: Callable[..., Toy], tmp_path: Path) -> None:
    trainer = toy(tmp_path).trainer
    own = torch.Generator()
    trainer.data_loader = DataLoader(Dataset([1, 2, 3]), shuffle=True, generator=own)

    def draw() -> list[float]:
        trainer.state.epoch = 5
        FPTEpochSeedHandler(seed=1).epoch_started(trainer)
        return [
            torch.rand(1).item(),
            np.random.random(),  # noqa: NPY002
            random.random(),
            torch.rand(1, generator=own).item(),
        ]

    assert draw() == draw()


def test_workers_that_stay_alive_are_warned_about(toy: Callable[..., Toy], tmp_path: Path) -> None:
    trainer = toy(tmp_path).trainer
    trainer.data_loader = DataLoader(Dataset([1]), num_workers=1, persistent_workers=True)
    with pytest.warns(UserWarning, match="set persistent_workers to false"):
        FPTEpochSeedHandler(seed=1).started(trainer)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative but is -1"):
        FPTEpochSeedHandler(seed=-1)
