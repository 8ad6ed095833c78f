"""Training of a small head on cached tokens: one loop for all such arms; what differs (optimizer, schedule, epochs) is given in.

The loss is the recipe's (:class:`~monai_fpt.networks.FPTLoss`, class weights included), the best epoch is chosen by validation AUC, strictly better only. Where a step is one image, torch's weighted mean over the batch would cancel
the class weight; it is put back.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.compare.scoring import is_better, validation_auc
from monai_fpt.networks import FPTLoss
from monai_fpt.networks.counting import learnable_parameters, training_bytes

__all__ = ["FPTFittedHead", "FPTHeadFitting"]


@dataclasses.dataclass
class FPTFittedHead:
    """What came of it.

    Attributes:
        score: validation AUC of the best epoch.
        best_epoch: from 1.
        logits: section to logits (N, K) of the best epoch.
        history: of every epoch its metrics.
        learnable_parameters: of the head.
        training_bytes: of a step.
    """

    score: float
    best_epoch: int
    logits: dict[str, Tensor]
    history: list[dict[str, float]]
    learnable_parameters: int
    training_bytes: int


@dataclasses.dataclass(frozen=True)
class FPTHeadFitting:
    """How a head is trained.

    Attributes:
        make_head: the head, its weights drawn from torch's global generator.
        make_optimizer: of the head.
        epochs: at most.
        batch_size: images a step.
        warmup: share of all steps in which the learning rate rises linearly.
        cosine: whether it falls to zero afterwards, else it stays.
        patience: stop after so many epochs without a better one; None trains all epochs.
        clip_norm: of the gradients; None does not clip.
    """

    make_head: Callable[[], nn.Module]
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    epochs: int
    batch_size: int
    warmup: float = 0.0
    cosine: bool = True
    patience: int | None = None
    clip_norm: float | None = None

    def fit(self, arm_data: FPTArmData, seed: int) -> FPTFittedHead:
        """Train on the training section; nothing outside changes torch's global generator."""
        devices = [arm_data.device] if arm_data.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return self._fit(arm_data)

    def _fit(self, arm_data: FPTArmData) -> FPTFittedHead:
        tokens, labels = arm_data.tokens("training"), arm_data.labels("training").to(arm_data.device)
        loss = _loss(arm_data)
        head = self.make_head().to(arm_data.device)
        memory = self._bytes(head, tokens, labels, loss, arm_data)
        optimizer = self.make_optimizer(head)
        steps = max(1, math.ceil(len(labels) / self.batch_size))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate(steps * self.epochs))
        best: tuple[float, int] | None = None
        kept: dict[str, Any] = {}
        history: list[dict[str, float]] = []
        for epoch in range(1, self.epochs + 1):
            loss.set_progress((epoch - 1) / self.epochs)
            rate = float(optimizer.param_groups[0]["lr"])
            mean = self._train(head, tokens, labels, loss, optimizer, scheduler, arm_data.device)
            logits = self._read(head, arm_data, "validation")
            score = validation_auc(logits, arm_data.labels("validation"), arm_data.task)
            history.append({"lr": rate, "train_loss": mean, "val_auc": score})
            if is_better(score, None if best is None else best[0]):
                best, kept = (score, epoch), copy.deepcopy(head.state_dict())
            assert best is not None
            if self.patience is not None and epoch - best[1] >= self.patience:
                break
        assert best is not None
        head.load_state_dict(kept)
        sections = [name for name in ("validation", "test") if arm_data.data.section(name)]
        return FPTFittedHead(
            score=best[0],
            best_epoch=best[1],
            logits={name: self._read(head, arm_data, name) for name in sections},
            history=history,
            learnable_parameters=learnable_parameters(head),
            training_bytes=memory,
        )

    def _train(
        self,
        head: nn.Module,
        tokens: Tensor,
        labels: Tensor,
        loss: FPTLoss,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        device: torch.device,
    ) -> float:
        """One epoch; the mean loss of an image."""
        head.train()
        total = 0.0
        for rows in _in_parts(torch.randperm(len(labels)), self.batch_size):
            own = labels[rows.to(device)]
            value = loss(head(tokens[rows].to(device)), own) * _weight_of(loss, own)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(head.parameters(), self.clip_norm)
            optimizer.step()
            scheduler.step()
            total += float(value.detach()) * len(rows)
        return total / len(labels)

    @torch.no_grad()
    def _read(self, head: nn.Module, arm_data: FPTArmData, section: str) -> Tensor:
        head.eval()
        parts = _in_parts(arm_data.tokens(section), max(16, self.batch_size))
        return torch.cat([head(part.to(arm_data.device)).float().cpu() for part in parts])

    def _bytes(self, head: nn.Module, tokens: Tensor, labels: Tensor, loss: FPTLoss, arm_data: FPTArmData) -> int:
        """Of a step of a copy of the head."""
        trial = copy.deepcopy(head).train()
        inputs = [tokens[: self.batch_size].to(arm_data.device).clone(), labels[: self.batch_size].clone()]
        with torch.random.fork_rng(devices=[arm_data.device] if arm_data.device.type == "cuda" else []):
            return training_bytes(
                trial, lambda: loss(trial(inputs[0]), inputs[1]), inputs, self.make_optimizer(trial), resident=False
            )

    def _rate(self, steps: int) -> Callable[[int], float]:
        rising = round(self.warmup * steps)

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            done = (step - rising) / max(1, steps - rising)
            return 0.5 * (1 + math.cos(math.pi * done)) if self.cosine else 1.0

        return factor


def _loss(arm_data: FPTArmData) -> FPTLoss:
    several = arm_data.task == "multilabel"
    weights: Any = arm_data.class_weights
    loss = FPTLoss(
        arm_data.task,
        arm_data.data.class_counts("training"),
        len(arm_data.data.training) if several else None,
        weights,
    )
    return loss.to(arm_data.device)


def _weight_of(loss: FPTLoss, labels: Tensor) -> Tensor | float:
    """What a weighted mean over a batch of one image has cancelled; 1 otherwise."""
    if len(labels) > 1 or loss.task == "multilabel" or loss.class_weights == "equal":
        return 1.0
    return loss.weight[labels[0]]


def _in_parts(values: Tensor, size: int) -> list[Tensor]:
    return [values[start : start + size] for start in range(0, len(values), size)]
