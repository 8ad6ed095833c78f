"""Two files of a training: the model that is kept, and the state from which a killed training goes on.

``model.pt`` is the network's plain ``state_dict`` (the network itself leaves its frozen part out), written whenever the
validation metric is strictly better than ever before, or after every epoch where the last one is wanted. ``last.pt`` is everything that the next epoch depends on, written
after every epoch.

Decisions:

- MONAI's engines never save a model whose metric is NaN, and keep a NaN of the first epoch as best for ever. Here NaN
  is worse than any number, but the first validated epoch is saved whatever its value: a finished run always has a
  model.
- The best of twenty epochs on few validation images is the luckiest one, and often an early one; with a learning rate that
  falls to nothing the last epoch is the steadier choice (docs/results.md), hence ``selection="last"``.
- The best value is the handler's own, not the evaluator's, for that reason. ``fpt_strictly_better`` teaches an engine
  the same rule (``metric_cmp_fn``).
- The handler registers its saving when the training starts, hence behind every handler of the configuration
  (validation, learning rate): what is saved is the state after the epoch, in whatever order handlers are listed.
- Only tensors and primitives are stored, so that ``torch.load(weights_only=True)`` reads the files.
- A failing write raises: with ``last.pt`` unharmed nothing is lost by stopping, while going on may lose the hours to
  come.
- Random numbers: the state of torch is stored. A bit-equal continuation of everything else (NumPy, transforms, workers)
  is the work of ``FPTEpochSeedHandler``, which derives them from the epoch.
"""

from __future__ import annotations

import io
import logging
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from ignite.engine import Events

from monai_fpt.handlers._evaluated import set_aside
from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._plain import plain_state
from monai_fpt.handlers._ranks import process_rank, wait_for_all

__all__ = ["FPTCheckpointHandler", "ModelSelection", "checked_selection", "fpt_strictly_better", "unwrapped_network"]

FORMAT = 1
ModelSelection = Literal["best", "last"]
MODEL_FILE = "model.pt"
LAST_FILE = "last.pt"


def fpt_strictly_better(current: float, best: float) -> bool:
    """Whether a metric is better than the best before; NaN is worse than any number. Fits MONAI's ``metric_cmp_fn``."""
    return not math.isnan(current) and (math.isnan(best) or current > best)


def checked_selection(value: Any) -> ModelSelection:
    """Which epoch's model a training keeps.

    Raises:
        ValueError: a word that is none.
    """
    if value not in get_args(ModelSelection):
        raise ValueError(f"model_selection={value!r} is not one of {', '.join(map(repr, get_args(ModelSelection)))}.")
    return value  # type: ignore[no-any-return]


class FPTCheckpointHandler:
    """Save the best model and the last state of a training, and resume from the latter.

    Attach it to the trainer. ``model.pt`` is the network of the best epoch; without an evaluator or with ``selection="last"``
    that of the last one.

    Args:
        run_dir: folder of ``model.pt`` and ``last.pt``, made when missing. network: its ``state_dict`` is saved;
        wrappers for distribution and compilation are looked through. optimizer: saved and resumed. lr_scheduler: saved
        and resumed when given. evaluator: the engine of the validation, whose metric decides; it must run by a
        ``ValidationHandler`` of the trainer. resume: continue from ``last.pt`` when there is one. config_digest: any
        text that identifies the configuration; a ``last.pt`` with another one is refused. metric_name: the metric that
        decides; by default the evaluator's key metric. selection: ``"best"`` by that metric, or ``"last"``.

    Raises:
        ValueError: an unknown selection.

    Example:
        >>> # in a bundle: {"_target_": "monai_fpt.handlers.FPTCheckpointHandler", "run_dir": "@run_dir",
        >>> #   "network": "@network", "optimizer": "@optimizer", "evaluator": "@validate#evaluator", "resume": true}
    """

    def __init__(
        self,
        run_dir: str | Path,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: Any | None = None,
        evaluator: Any | None = None,
        resume: bool = False,
        config_digest: str = "",
        metric_name: str | None = None,
        selection: ModelSelection = "best",
    ) -> None:
        self.model_path = Path(run_dir) / MODEL_FILE
        self.last_path = Path(run_dir) / LAST_FILE
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.resume = resume
        self.config_digest = config_digest
        self.metric_name = metric_name
        self.selection = checked_selection(selection)
        self.best_metric = math.nan
        self.best_epoch: int | None = None
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Any) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Any) -> None:
        """Resume if wanted, and stand behind all handlers that are attached by now.

        Raises:
            ValueError: ``last.pt`` is damaged, of another configuration, or does not fit this training.
        """
        if not engine.has_event_handler(self.epoch_completed, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        evaluator = self.evaluator
        if evaluator is not None and not evaluator.has_event_handler(self.validated, Events.COMPLETED):
            evaluator.add_event_handler(Events.COMPLETED, self.validated)
        if self.resume and self.last_path.exists():
            self._load(engine)

    def validated(self, evaluator: Any) -> None:
        """Save the model if this validation is the best so far; where the last epoch is wanted, remember its metric."""
        name = self.metric_name or evaluator.state.key_metric_name
        if name not in evaluator.state.metrics:
            known = ", ".join(sorted(evaluator.state.metrics)) or "none"
            raise ValueError(
                f"the validation has no metric {name!r} to choose the model by (it has: {known}): "
                "set metric_name of FPTCheckpointHandler or key_val_metric of the evaluator."
            )
        metric = float(evaluator.state.metrics[name])
        if self.selection == "last":
            self.best_metric = metric
        elif self.best_epoch is None or fpt_strictly_better(metric, self.best_metric):
            self.best_metric, self.best_epoch = metric, int(evaluator.state.epoch)
            self._save_model()
            self.logger.debug(f"epoch {self.best_epoch}: {name} {metric:.4f} is the best, saved {self.model_path.name}")

    def epoch_completed(self, engine: Any) -> None:
        """Save the last state."""
        if self.selection == "last":
            self.best_epoch = int(engine.state.epoch)
        if self.evaluator is None or self.selection == "last":
            self._save_model()
        if process_rank() == 0:
            self._write(self.last_path, self._state(engine))

    def completed(self, engine: Any) -> None:
        """Leave no run without a model: validation may never have taken place. No process goes on before it is written, or
        one that is ahead would read the best model of an earlier epoch.
        """
        if self.evaluator is not None and self.best_epoch is None and engine.state.epoch > 0:
            self.logger.warning(f"no validation took place, {self.model_path.name} is the network of the last epoch")
            self._save_model()
        wait_for_all()

    def _save_model(self) -> None:
        if process_rank() == 0:
            set_aside(self.model_path.parent)
            self._write(self.model_path, plain_state(dict(unwrapped_network(self.network).state_dict()), "network"))

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()  # in memory first: torch reports a full disk as an internal error of its archive writer
        torch.save(state, buffer)
        replace_file_content(path, buffer.getvalue())

    def _state(self, engine: Any) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        scaler = getattr(engine, "scaler", None)
        state = {
            "format": FORMAT,
            "config_digest": self.config_digest,
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
            "trainer": _best_of(engine),
            "evaluator": None if self.evaluator is None else _best_of(self.evaluator),
            "network": dict(unwrapped_network(self.network).state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "rng": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state() if next(_devices(self.network)).type == "cuda" else None,
            },
        }
        return {key: plain_state(value, key) for key, value in state.items()}

    def _load(self, engine: Any) -> None:
        state = self._read()
        if state["config_digest"] != self.config_digest:
            raise ValueError(
                f"{self.last_path} was written for another configuration (digest {state['config_digest']!r}, now "
                f"{self.config_digest!r}): give another run_dir, or resume=False to start anew."
            )
        if state["epoch_length"] != engine.state.epoch_length:
            raise ValueError(
                f"{self.last_path} was written with {state['epoch_length']} iterations an epoch but this training has "
                f"{engine.state.epoch_length}: give the same data and batch size, or resume=False to start anew."
            )
        for name, own in (("lr_scheduler", self.lr_scheduler), ("evaluator", self.evaluator)):
            if (state[name] is None) != (own is None):
                raise ValueError(
                    f"{self.last_path} was written {'without' if own else 'with'} {name} but this training runs "
                    f"{'with' if own else 'without'} it: give the same objects, or resume=False to start anew."
                )
        unwrapped_network(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        scaler = getattr(engine, "scaler", None)
        if scaler is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        engine.state.epoch, engine.state.iteration = state["epoch"], state["iteration"]
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        _set_best(engine, state["trainer"])
        if self.evaluator is not None:
            _set_best(self.evaluator, state["evaluator"])
        if process_rank() == 0:  # the file holds rank 0's numbers; the other ranks must not dream the same dropout
            torch.set_rng_state(state["rng"]["torch"])
            if state["rng"]["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["rng"]["cuda"])
        if engine.state.epoch >= engine.state.max_epochs:
            self.logger.info(
                f"{self.last_path.name} has finished {engine.state.epoch} of {engine.state.max_epochs} epochs: "
                "nothing is left to train"
            )
        else:
            self.logger.info(f"resumed from {self.last_path.name}: going on with epoch {engine.state.epoch + 1}")

    def _read(self) -> dict[str, Any]:
        content = self.last_path.read_bytes()  # so that an OSError below can only mean a damaged archive
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            version = state["format"]
        except (RuntimeError, pickle.UnpicklingError, OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.last_path} is damaged or no last.pt of this package: remove it, or set resume=False."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{self.last_path} has format {version} but this version reads {FORMAT}: resume with the version of "
                "monai_fpt that wrote it, or set resume=False."
            )
        return dict(state)


def unwrapped_network(network: torch.nn.Module) -> torch.nn.Module:
    """The network inside wrappers for distribution and compilation, whose state dicts prefix every key."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if isinstance(network, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)):
            inner = network.module
        if not isinstance(inner, torch.nn.Module):
            return network
        network = inner


def _devices(network: torch.nn.Module) -> Iterator[torch.device]:
    yield from (parameter.device for parameter in network.parameters())
    yield torch.device("cpu")


def _best_of(engine: Any) -> dict[str, Any]:
    return {"best_metric": engine.state.best_metric, "best_metric_epoch": engine.state.best_metric_epoch}


def _set_best(engine: Any, best: dict[str, Any]) -> None:
    engine.state.best_metric = best["best_metric"]
    engine.state.best_metric_epoch = best["best_metric_epoch"]
