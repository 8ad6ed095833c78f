"""FPTTuningArm: what all tuning arms have in common; a comparator says what of the trunk learns, and with which numbers.

Decisions:

- An arm is a frozen dataclass; its fields are its settings and nothing else decides. Defaults are its authors', told in its own file.
- Several ``learning_rates`` are trained in turn, from the same start with the same random numbers, and the one whose best epoch is
  strictly better on validation is kept; the cost is theirs in sum, the numbers told are those of the one kept.
- Images may be read smaller than the recipe does (``image_size``), where there is no GPU; the result says so.
- The same seed gives the same logits, bit by bit, on one machine with a fixed number of threads. On a GPU the backward pass of fused
  attention adds in no fixed order.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor, nn

from monai_fpt.compare.arm import FPTArmData, FPTArmResult
from monai_fpt.compare.scoring import is_better
from monai_fpt.compare.settings import require_number, require_whole, several_numbers
from monai_fpt.compare.tuning.fitting import FPTFitted, FPTFitting
from monai_fpt.compare.tuning.images import FPTTuningImages
from monai_fpt.compare.tuning.trunk import FPTTunedViT, fresh_trunk
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.networks.counting import learnable_parameters

__all__ = ["FPTTuningArm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FPTTuningArm(abc.ABC):
    """A comparator that tunes a copy of the backbone. Subclasses say what learns (:meth:`prepare`).

    Attributes:
        image_size: side in pixels of the square image that is read; None takes the recipe's.
        max_epochs: all are trained; the best on validation is kept.
        batch_size: images a step; None takes the recipe's.
        learning_rates: tried in turn; validation chooses.
        weight_decay: of matrices; biases, norms, tokens and positions have none.
        warmup: share of all steps over which the learning rate rises.
        layer_decay: factor of the learning rate from a block to the one before it; 1 gives all the same.
        drop_path: rate of stochastic depth of the last block, rising from 0 at the first.
        clip_norm: gradients longer than this are shortened.
        bf16: the trunk computes in bfloat16 autocast.
        checkpointing: blocks are computed again in the backward pass: less memory, a fifth to a third more time, the same numbers.

    Raises:
        ValueError: a setting out of its range.
    """

    image_size: int | None = None
    max_epochs: int = 20
    batch_size: int | None = None
    learning_rates: tuple[float, ...] = (1e-3,)
    weight_decay: float = 0.0
    warmup: float = 0.05
    layer_decay: float = 1.0
    drop_path: float = 0.0
    clip_norm: float = 1.0
    bf16: bool = True
    checkpointing: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rates", several_numbers("compare", "learning_rates", self.learning_rates))
        if min(self.learning_rates) <= 0:
            raise ValueError(f"compare: learning_rates={self.learning_rates} must be one or more numbers above 0.")
        given = {name: getattr(self, name) for name in ("image_size", "batch_size")}
        given = {name: value for name, value in given.items() if value is not None}
        require_whole("compare", max_epochs=self.max_epochs, **given)
        require_number("compare", 0, 1, warmup=self.warmup, drop_path=self.drop_path)
        require_number("compare", 1e-6, 1, layer_decay=self.layer_decay)
        require_number("compare", 0, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        if self.clip_norm == 0:
            raise ValueError("compare: clip_norm=0 would stop all learning; give a number above 0.")

    @abc.abstractmethod
    def prepare(self, trunk: Any) -> nn.Module:
        """Say what of the trunk learns.

        Args:
            trunk: timm's model without head, of which nothing learns; may be changed.

        Returns:
            The model that takes its place.
        """

    def build(self, arm_data: FPTArmData, seed: int) -> FPTTunedViT:
        """The model before its first step, on the device; what learns requires a gradient, and nothing else."""
        with _seeded(seed, arm_data.device):
            size = self.image_size or arm_data.backbone.image_size
            trunk = fresh_trunk(arm_data, size, self.drop_path, self.checkpointing)
            features = int(trunk.num_features)
            return FPTTunedViT(self.prepare(trunk), features, arm_data.num_classes, self.bf16).to(arm_data.device)

    def open_images(self, arm_data: FPTArmData) -> dict[str, FPTTuningImages]:
        """The images of every section, decoded into the working folder where they are not there yet. All arms of one size share them, so
        that the harness asks for them before an arm's clock starts.
        """
        size = self._size(arm_data)
        return {section: FPTTuningImages(arm_data, section, size) for section in SECTIONS}

    def _size(self, arm_data: FPTArmData) -> int:
        return self.image_size or arm_data.backbone.image_size

    def optimize(self, model: FPTTunedViT, learning_rate: float) -> torch.optim.Optimizer:
        """AdamW over what learns, the head at the full learning rate."""
        bare: set[str] = getattr(model.trunk, "no_weight_decay", set)()
        if self.layer_decay < 1:
            groups = param_groups_layer_decay(model.trunk, self.weight_decay, bare, layer_decay=self.layer_decay)
            for group in groups:
                group["lr"] = learning_rate * self.layer_decay * group.pop("lr_scale")  # the head is a layer of its own
        else:
            groups = param_groups_weight_decay(model.trunk, self.weight_decay, no_weight_decay_list=bare)
        groups += param_groups_weight_decay(model.head, self.weight_decay)
        return torch.optim.AdamW(groups, lr=learning_rate)

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Tune a fresh copy of the backbone, choose by validation, and answer validation and test.

        Raises:
            ValueError: no training images; several learning rates and no validation images; weights that are not the backbone's; or something
                that learns and takes no part in the forward pass.
            RuntimeError: a loss that is no number.
        """
        if not arm_data.data.training:
            raise ValueError("compare: there are no training images; give a data list that has some.")
        if len(self.learning_rates) > 1 and not arm_data.data.validation:
            raise ValueError(
                "compare: several learning_rates need validation images to choose among them; give one learning rate, or a validation section."
            )
        size = self._size(arm_data)
        images = self.open_images(arm_data)
        best: tuple[float, FPTFitted, dict[str, Tensor], int, int] | None = None
        for rate in self.learning_rates:
            model = self.build(arm_data, seed)
            fitting = FPTFitting(
                model,
                self.optimize(model, rate),
                arm_data,
                images,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size or arm_data.batch_size,
                warmup=self.warmup,
                clip_norm=self.clip_norm,
                seed=seed,
            )
            with _seeded(seed, arm_data.device):
                fitted = fitting.fit()
                if best is not None and not is_better(fitted.best_auc, best[1].best_auc):
                    continue
                answers = {"validation": fitted.validation, "test": fitting.read("test")}
                logits = {section: values for section, values in answers.items() if values is not None}
                best = (rate, fitted, logits, learnable_parameters(model), fitting.training_bytes())
        assert best is not None
        rate, fitted, logits, parameters, num_bytes = best
        return FPTArmResult(
            logits=logits,
            learnable_parameters=parameters,
            training_bytes=num_bytes,
            best_epoch=fitted.best_epoch,
            chosen={
                "learning_rate": rate,
                "epoch": fitted.best_epoch,
                "validation_auc": fitted.best_auc,
                "image_size": size,
            },
            history=fitted.history,
        )


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from a seed; afterwards those of before go on."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
