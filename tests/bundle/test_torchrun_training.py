"""Training by two processes is the training of one on batches twice as large, within rounding.

Two processes with batches of 4 compute the mean of two means over 4, one process with batches of 8 a mean over 8: the same
number, summed in another order (1e-7), which 6 steps of AdamW carry on. AdamW divides by the root of second moments, so a
weight whose gradient is near nothing may move by up to the learning rate either way; hence weights are compared within a
hundredth of the learning rate on average, logits within 1e-3. What draws random numbers is switched off here (order, side
augmentation, dropout): each process draws its own, so that with them two processes differ from one as two seeds do.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torchrun_toys import EXTRACT, TRAIN, run

from monai_fpt.metrics import FPTPredictions

LEARNING_RATE = 5e-4
EPOCHS = 3


def train(images: Path, run_dir: Path, cache: Path, processes: int, **more: Any) -> dict[str, torch.Tensor]:
    options = {
        "dataset_dir": images,
        "run_dir": run_dir,
        "cache_dir": cache,
        "image_size": 64,
        "network_config#side_size": 32,
        "network_config#dropout": 0.0,
        "network_config#side_init": "fan_in",
        "train#preprocessing": "@validate#preprocessing",
        "learning_rate": LEARNING_RATE,
        "max_epochs": EPOCHS,
        "track": False,
        "report": False,
        **more,
    }
    done = run("training", TRAIN if processes else TRAIN[:1], options, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    state: dict[str, torch.Tensor] = torch.load(run_dir / "last.pt", weights_only=True)["network"]
    return state


@pytest.mark.slow
def test_two_processes_train_as_one_with_batches_twice_as_large(images: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = train(images, tmp_path / "1", cache, 0, batch_size=8, **{"train#dataloader#shuffle": False})
    two = train(images, tmp_path / "2", cache, 2, batch_size=4, **{"train#sampler#shuffle": False})
    other = train(images, tmp_path / "3", cache, 0, batch_size=4, **{"train#dataloader#shuffle": False})

    assert one.keys() == two.keys()
    assert distance(one, two) < LEARNING_RATE / 100
    assert distance(one, other) > LEARNING_RATE / 2  # other batches give other weights
    first, second = (FPTPredictions.load(tmp_path / run_dir / "test_predictions.json") for run_dir in ("1", "2"))
    rows = [second.keys.index(key) for key in first.keys]
    torch.testing.assert_close(torch.tensor(second.logits[rows]), torch.tensor(first.logits), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_several_members_train_in_several_processes_where_the_last_batch_is_shorter_than_they_are_many(
    images: Path, tmp_path: Path
) -> None:
    options = {"network_config#members": 3, "batch_size": 3, "max_epochs": 1}
    cache = tmp_path / "cache"
    start = train(images, tmp_path / "start", cache, 2, **options, learning_rate=1e-12)
    state = train(images, tmp_path / "run", cache, 2, **options)

    names = [f"side.members.{k}.head.weight" for k in range(3)]
    moved = torch.stack([(state[name] - start[name]).abs().max() for name in names])
    assert (moved > LEARNING_RATE / 10).all()
    assert not torch.equal(state[names[0]], state[names[1]])


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Mean distance of the weights."""
    differences = [(first[k] - second[k]).abs().flatten() for k in first if first[k].is_floating_point()]
    return float(torch.cat(differences).mean())


@pytest.mark.parametrize("job", [EXTRACT, TRAIN], ids=["extraction", "training"])
def test_processes_wait_a_day_for_a_slow_one(job: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten minutes of NCCL would end an extraction whose shares take unequally long."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda **options: asked.update(options))
    parser = ConfigParser()
    parser.read_config([str(file) for file in job])

    parser.get_parsed_content("initialize#1")

    assert asked["timeout"] == datetime.timedelta(hours=24)
