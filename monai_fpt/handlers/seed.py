"""Every epoch's random numbers come from its number, so a resumed training repeats an uninterrupted one bit for bit.

Storing the generators instead would have to reach into NumPy, Python, every transform and every worker process.
Deriving them from (seed, epoch, rank) at the start of the epoch needs nothing stored at all.

When ignite (0.5) draws: the iterator of the first epoch is made after ``EPOCH_STARTED``; later epochs keep the old
iterator until it is empty and make the new one then, also after ``EPOCH_STARTED``. An epoch shorter than the loader
(``epoch_length``) would however go on in the middle of the old iterator, which no resumed run can do. The handler
therefore seeds at ``EPOCH_STARTED`` and gives the engine a fresh iterator there (``Engine.set_data``): its base seed
and the shuffling are drawn after the seeding in every case, and every epoch begins at the first batch.

What the loader must do: draw from torch's global generator (the default) or carry its own ``generator``, which is
seeded too; and not keep its workers alive from epoch to epoch, since their transforms are out of reach (a warning says
so).
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data.utils import set_rnd

from monai_fpt.handlers._ranks import process_rank

__all__ = ["FPTEpochSeedHandler"]


class FPTEpochSeedHandler:
    """Seed torch, NumPy, Python and the random transforms at the start of every epoch.

    Attach it to the trainer.

    Args:
        seed: not negative; epochs and ranks get different numbers from it.
        dataset: whose random transforms (anything with ``set_random_state``) are seeded; by default the data set of the
            trainer's loader.

    Raises:
        ValueError: ``seed`` is negative.
    """

    def __init__(self, seed: int, dataset: Any | None = None) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative but is {seed}.")
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Any) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)

    def started(self, engine: Any) -> None:
        """Say so when the loader makes a bit-equal resume impossible."""
        if getattr(engine.data_loader, "persistent_workers", False):
            warnings.warn(
                "the loader keeps its workers from epoch to epoch, so their random transforms cannot be seeded by "
                "epoch and a resumed training will differ: set persistent_workers to false.",
                stacklevel=2,
            )

    def epoch_started(self, engine: Any) -> None:
        """Seed everything for the epoch that begins and restart the loader."""
        loader = engine.data_loader
        torch_seed, numpy_seed, python_seed, transform_seed, loader_seed = self.epoch_seeds(engine.state.epoch)
        torch.manual_seed(torch_seed)  # all devices
        np.random.seed(numpy_seed)  # noqa: NPY002  # third-party transforms draw from the global generator
        random.seed(python_seed)
        dataset = self.dataset if self.dataset is not None else getattr(loader, "dataset", None)
        set_rnd(dataset, transform_seed)
        own = (getattr(loader, "generator", None), getattr(getattr(loader, "sampler", None), "generator", None))
        generators = {id(generator): generator for generator in own if generator is not None}
        for offset, generator in enumerate(generators.values()):
            generator.manual_seed(loader_seed + offset)
        if engine.state.dataloader is not None:
            engine.set_data(engine.state.dataloader)

    def epoch_seeds(self, epoch: int) -> tuple[int, int, int, int, int]:
        """Five independent 32-bit seeds (torch, NumPy, Python, transforms, loader) for this epoch and rank."""
        words = np.random.SeedSequence([self.seed, epoch, process_rank()]).generate_state(5)
        a, b, c, d, e = (int(word) for word in words)
        return a, b, c, d, e
