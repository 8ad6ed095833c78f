"""The training loop of the tuning arms: one model, AdamW, warm-up and cosine, the best epoch by validation AUC.

Decisions:

- What can be the recipe's is the recipe's: batch size, batches of an epoch (a last, smaller one is left out), loss and class weights,
  augmentation, gradient clipping at 1, and the rule for the best epoch: strictly better than ever before, NaN worse than any number, the
  first epoch counts whatever its value, and without validation images the last epoch is taken.
- A plain loop and not an engine: nothing of it is tracked, saved or resumed; the harness does that for the arm as a whole.
- Only what learns is kept of the best epoch. The test section is read once, with those weights.
- A loss that is no number ends the training: it does not come back, and a table must not hold what came of it.
- A tensor that learns and takes no part in the forward pass ends it too: some models read the weight of a layer without calling the
  layer, and an adapter on it would be counted and never trained.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.compare.scoring import is_better, validation_auc
from monai_fpt.compare.tuning.images import FPTTuningImages
from monai_fpt.networks import FPTLoss
from monai_fpt.networks.counting import training_bytes
from monai_fpt.transforms import RandFPTSideAugment

__all__ = ["FPTFitted", "FPTFitting", "warmup_cosine"]


@dataclasses.dataclass(frozen=True)
class FPTFitted:
    """What came out of one training; the model holds the weights of the best epoch.

    Attributes:
        best_epoch: counted from 1.
        best_auc: its validation AUC; NaN without validation images.
        history: of every epoch ``lr`` (at its start), ``train_loss`` and ``val_auc``.
        validation: logits (N, K) of the best epoch; None without validation images.
    """

    best_epoch: int
    best_auc: float
    history: list[Mapping[str, float]]
    validation: Tensor | None


class FPTFitting:
    """A model in training. ``fit`` trains it, ``read`` answers a section, ``training_bytes`` counts a step.

    Args:
        model: images to logits; what does not require a gradient stays as it is.
        optimizer: of what learns.
        arm_data: labels, loss, device.
        images: section to images.
        max_epochs: all are trained.
        batch_size: images a step.
        warmup: share of all steps over which the learning rate rises.
        clip_norm: gradients longer than this are shortened.
        seed: of the order of images and their augmentation; random numbers of the model itself come from torch's global generator.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        arm_data: FPTArmData,
        images: Mapping[str, FPTTuningImages],
        *,
        max_epochs: int,
        batch_size: int,
        warmup: float,
        clip_norm: float,
        seed: int,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.arm_data = arm_data
        self.images = images
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.labels = arm_data.labels("training").to(arm_data.device)
        data = arm_data.data
        self.loss = FPTLoss(
            arm_data.task,
            class_counts=data.class_counts("training"),
            num_images=len(data.training) if arm_data.task == "multilabel" else None,
            class_weights=arm_data.class_weights,  # type: ignore[arg-type]  # FPTLoss checks it
        ).to(arm_data.device)
        self.steps = max(1, len(self.labels) // batch_size)
        self.scheduler = LambdaLR(optimizer, warmup_cosine(self.steps * max_epochs, warmup))
        self.order = torch.Generator().manual_seed(seed)
        self.augment = RandFPTSideAugment(
            images["training"].image_size,
            flip_prob=arm_data.flip_prob,
            vertical_flip_prob=arm_data.vertical_flip_prob,
            rotate_prob=arm_data.rotate_prob,
        )
        self.augment.set_random_state(seed=seed)
        self.learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def fit(self) -> FPTFitted:
        """Train all epochs and put the weights of the best one into the model.

        Raises:
            RuntimeError: a loss that is no number.
            ValueError: something that learns takes no part in the forward pass.
        """
        history: list[Mapping[str, float]] = []
        best_epoch, best_auc, best_logits = 0, math.nan, None
        best_weights = {name: p.detach().clone() for name, p in self.learned}
        for epoch in range(1, self.max_epochs + 1):
            rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
            loss = self._train_epoch(epoch)
            logits = self.read("validation")
            auc = (
                math.nan
                if logits is None
                else validation_auc(logits, self.arm_data.labels("validation"), self.loss.task)
            )
            history.append({"lr": rate, "train_loss": loss, "val_auc": auc})
            if logits is None or is_better(auc, best_auc if best_epoch else None):
                best_epoch, best_auc, best_logits = epoch, auc, logits
                for name, p in self.learned:
                    best_weights[name].copy_(p.detach())
        with torch.no_grad():
            for name, p in self.learned:
                p.copy_(best_weights[name])
        return FPTFitted(best_epoch, best_auc, history, best_logits)

    @torch.no_grad()
    def read(self, section: str) -> Tensor | None:
        """Logits (N, K) of a section, float32 on the CPU; None where it has no images."""
        images = self.images[section]
        self.model.eval()
        starts = range(0, len(images), self.batch_size)
        rows = [range(start, min(start + self.batch_size, len(images))) for start in starts]
        parts = [self.model(images.batch(part)).float().cpu() for part in rows]
        return torch.cat(parts) if parts else None

    def training_bytes(self) -> int:
        """Bytes of one training step, see :mod:`monai_fpt.networks.counting`; the step is taken, so call it when all else is done."""
        rows = range(min(self.batch_size, len(self.labels)))
        image, labels = self.images["training"].batch(rows, self.augment), self.labels[: len(rows)].clone()
        self.model.train()
        return training_bytes(
            self.model, lambda: self.loss(self.model(image), labels), [image, labels], self.optimizer, resident=True
        )

    def _train_epoch(self, epoch: int) -> float:
        self.model.train()
        self.loss.set_progress((epoch - 1) / self.max_epochs)
        order = torch.randperm(len(self.labels), generator=self.order).tolist()
        total = 0.0
        for step in range(self.steps):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            image = self.images["training"].batch(rows, self.augment)
            loss = self.loss(self.model(image), self.labels[rows])
            if not math.isfinite(value := float(loss.detach())):
                rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
                raise RuntimeError(
                    f"compare: the training loss is {value} in epoch {epoch} at a learning rate of {rate:.2g}; give lower learning_rates, "
                    f"or bf16=False."
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if epoch == 1 and step == 0:
                self._refuse_idle()
            torch.nn.utils.clip_grad_norm_([p for _, p in self.learned], self.clip_norm)
            self.optimizer.step()
            self.scheduler.step()
            total += value
        return total / self.steps

    def _refuse_idle(self) -> None:
        idle = [name for name, p in self.learned if p.grad is None]
        if idle:
            raise ValueError(
                f"compare: {len(idle)} of {len(self.learned)} tensors that should learn take no part in this backbone's forward pass, the "
                f'first is "{idle[0]}"; name other layers (target_modules of a tuner: "attn.proj", "fc1", "fc2"), or take another arm.'
            )


def warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate at each of ``steps`` steps: up in equal steps to 1 over a share of them, then a half cosine to 0.

    Example:
        >>> factor = warmup_cosine(10, 0.2)
        >>> [round(factor(step), 3) for step in (0, 1, 2, 6, 10)]
        [0.333, 0.667, 1.0, 0.5, 0.0]
    """
    rising = round(steps * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return factor
