"""A run always has a model, the best one; files are whole; what does not fit is refused."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from toy_training import Toy

from monai_fpt.handlers import FPTCheckpointHandler, fpt_strictly_better
from monai_fpt.handlers._plain import plain_state

NAN = math.nan


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        pytest.param([0.5, 0.7, 0.6], 2, id="the highest"),
        pytest.param([0.7, 0.7, 0.7], 1, id="the first of equals"),
        pytest.param([NAN, NAN, NAN], 1, id="all NaN: the first"),
        pytest.param([NAN, 0.2, 0.1], 2, id="a number beats NaN"),
        pytest.param([0.3, NAN, 0.1], 1, id="NaN beats no number"),
        pytest.param([0.0, 0.0, 0.0], 1, id="all zero"),
        pytest.param([-3.0, -2.0, -5.0], 2, id="negative"),
    ],
)
def test_model_is_that_of_the_best_epoch(
    tmp_path: Path, toy: Callable[..., Toy], metrics: list[float], best: int
) -> None:
    weights: dict[int, torch.Tensor] = {}
    run = toy(tmp_path, epochs=3, metric=lambda epoch: metrics[epoch - 1])
    run.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: weights.update({e.state.epoch: run.network[0].weight.detach().clone()})
    )
    run.trainer.run()
    assert run.checkpoint.best_epoch == best
    model = torch.load(tmp_path / "model.pt", weights_only=True)
    assert model.keys() == run.network.state_dict().keys()
    assert torch.equal(model["0.weight"], weights[best])


def test_the_last_epoch_is_kept_where_it_is_wanted(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path, epochs=3, metric=lambda epoch: 1 / epoch, selection="last")
    run.trainer.run()
    assert (run.checkpoint.best_epoch, run.checkpoint.best_metric) == (3, 1 / 3)
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["0.weight"], run.network[0].weight)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["best_epoch"] == 3


def test_an_unknown_selection_is_refused(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    with pytest.raises(ValueError, match=r"model_selection='luck' is not one of 'best', 'last'\."):
        toy(tmp_path, selection="luck")


def test_strictly_better() -> None:
    assert fpt_strictly_better(0.2, 0.1) and fpt_strictly_better(0.1, NAN)
    assert not fpt_strictly_better(0.1, 0.1) and not fpt_strictly_better(NAN, 0.1) and not fpt_strictly_better(NAN, NAN)


def test_the_best_metric_survives_a_resume(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    toy(tmp_path, epochs=2, metric=lambda epoch: 0.9).trainer.run()
    before = (tmp_path / "model.pt").read_bytes()
    resumed = toy(tmp_path, epochs=4, resume=True, metric=lambda epoch: 0.8)
    resumed.trainer.run()
    assert (resumed.checkpoint.best_metric, resumed.checkpoint.best_epoch) == (0.9, 1)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_a_run_without_validation_has_the_last_model(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path, epochs=2, interval=5)
    run.trainer.run()
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["0.weight"], run.network[0].weight)


def test_without_an_evaluator_the_model_is_the_last(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path / "unused", epochs=1)
    handler = FPTCheckpointHandler(tmp_path, run.network, run.optimizer)
    handler.attach(run.trainer)
    run.trainer.run()
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["0.weight"], run.network[0].weight)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 1


def test_wrapped_networks_are_saved_without_the_prefix(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path, epochs=1)
    run.checkpoint.network = torch.nn.DataParallel(run.network)
    run.trainer.run()
    assert "0.weight" in torch.load(tmp_path / "model.pt", weights_only=True)


def test_other_ranks_write_nothing(tmp_path: Path, toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = toy(tmp_path / "run", epochs=1)
    run.trainer.run()
    assert not (tmp_path / "run").exists()
    assert run.checkpoint.best_epoch == 1


def test_no_process_goes_on_before_the_last_best_model_is_written(
    tmp_path: Path, toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[torch.Tensor] = []
    monkeypatch.setattr(
        "monai_fpt.handlers.checkpoint.wait_for_all",
        lambda: waiting.append(torch.load(tmp_path / "model.pt", weights_only=True)["0.weight"]),
    )
    run = toy(tmp_path, epochs=3, metric=lambda epoch: epoch)
    run.trainer.run()
    (there,) = waiting
    assert torch.equal(there, run.network[0].weight)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"digest": "two"}, r"another configuration \(digest 'one', now 'two'\)"),
        ({"epoch_length": 2}, "4 iterations an epoch but this training has 2"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    tmp_path: Path, toy: Callable[..., Toy], options: dict[str, Any], says: str
) -> None:
    toy(tmp_path, epochs=1).trainer.run()
    with pytest.raises(ValueError, match=says):
        toy(tmp_path, resume=True, **options).trainer.run()


def test_a_missing_scheduler_is_refused(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    toy(tmp_path, epochs=1).trainer.run()
    run = toy(tmp_path, resume=True)
    run.checkpoint.lr_scheduler = None
    with pytest.raises(ValueError, match="written with lr_scheduler but this training runs without it"):
        run.trainer.run()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"])
def test_a_damaged_state_is_refused(tmp_path: Path, toy: Callable[..., Toy], content: bytes | str) -> None:
    toy(tmp_path, epochs=1).trainer.run()
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match="is damaged"):
        toy(tmp_path, resume=True).trainer.run()


def test_a_full_disk_leaves_the_old_files_and_one_sentence(
    tmp_path: Path, toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(tmp_path, epochs=1).trainer.run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*unchanged") as caught:
        toy(tmp_path, epochs=2, resume=True).trainer.run()
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_unknown_metric_is_named(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path, epochs=1)
    run.checkpoint.metric_name = "kappa"
    with pytest.raises(ValueError, match=r"no metric 'kappa' .* \(it has: auc\)"):
        run.trainer.run()


def test_numpy_numbers_become_plain_and_objects_are_refused() -> None:
    assert plain_state({"best": np.float64(0.5), "n": np.array([1, 2])}, "s")["best"] == 0.5
    with pytest.raises(TypeError, match=r"scheduler\['fn'\]\[0\] is a type"):
        plain_state({"fn": [int]}, "scheduler")
