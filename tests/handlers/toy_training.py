"""A training small enough to run in a second and random in every way a real one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.transforms import Activationsd, Compose, CopyItemsd, RandGaussianNoised

from monai_fpt.handlers import FPTCheckpointHandler, FPTEpochSeedHandler, FPTMetricHandler, fpt_strictly_better

ITERATIONS = 4


@dataclass
class Toy:
    """The objects of one training."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    trainer: SupervisedTrainer
    evaluator: SupervisedEvaluator
    checkpoint: FPTCheckpointHandler
    seen: list[float]

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.network.parameters()])


def samples(count: int, classes: int = 2) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(count)
    return [
        {"image": torch.randn(6, generator=generator) + i % classes, "label": i % classes, "key": f"image {i}.png"}
        for i in range(count)
    ]


def make_toy(
    run_dir: Path,
    epochs: int = 6,
    resume: bool = False,
    workers: int = 0,
    epoch_length: int | None = None,
    digest: str = "one",
    metric: Callable[[int], float] | None = None,
    extra: list[Any] | None = None,
    interval: int = 1,
    selection: Any = "best",
) -> Toy:
    """Every object anew, as a new process would make them; ``metric`` replaces the validation's score by epoch."""
    torch.manual_seed(np.random.SeedSequence().entropy % 2**32)  # whatever the process did before must not matter
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=ITERATIONS * epochs)
    post = Compose([CopyItemsd("pred", 1, "logits"), Activationsd("pred", softmax=True)])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(samples(8)), batch_size=4),
        network=network,
        postprocessing=post,
        key_val_metric={"auc": FPTMetricHandler("auc")},
        metric_cmp_fn=fpt_strictly_better,
    )
    if metric is not None:

        def replace(engine: Any) -> None:
            engine.state.metrics["auc"] = metric(engine.state.epoch)

        evaluator.add_event_handler(Events.EPOCH_COMPLETED, replace)
    checkpoint = FPTCheckpointHandler(
        run_dir, network, optimizer, scheduler, evaluator, resume=resume, config_digest=digest, selection=selection
    )
    transform = Compose([RandGaussianNoised("image", prob=0.8)])
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(samples(16), transform), batch_size=4, shuffle=True, num_workers=workers),
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.CrossEntropyLoss(),
        epoch_length=epoch_length,
        train_handlers=[
            checkpoint,  # on purpose in front of what it must come after
            FPTEpochSeedHandler(seed=3),
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
            ValidationHandler(interval=interval, validator=evaluator),
            *(extra or []),
        ],
    )
    toy = Toy(network, optimizer, scheduler, trainer, evaluator, checkpoint, [])
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: toy.seen.append(e.state.output[0]["loss"]))
    return toy


class PowerCut(Exception):
    """What stops a training between two epochs, or within one."""


def run_until(toy: Toy, iteration: int) -> None:
    """Train and lose power after so many iterations."""

    def cut(_: Any) -> None:
        raise PowerCut

    toy.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), cut)
    with pytest.raises(PowerCut):
        toy.trainer.run()
