"""The contract between the harness and what it compares: an arm gets data, and gives logits and what they cost.

An arm is a function (or a frozen dataclass with ``__call__``) of :class:`FPTArmData` and a seed. Decisions:

- An arm chooses (epoch, C, k, learning rate) by the validation section alone. It cannot do otherwise: the labels of the test images in
  its data are blanked, and :meth:`FPTArmData.labels` refuses them. The harness alone scores.
- Everything that makes results differ without a reason is the harness's: data list, sections, reading and preparing of images, backbone
  and its weights, seed.
- Tokens are read from the cache when they are asked for, never before; an arm that reads images never pays for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_fpt.data import FPTDataList
from monai_fpt.networks import FPTConfig, FrozenViT

__all__ = ["FPTArm", "FPTArmData", "FPTArmResult", "without_test_labels"]


@dataclasses.dataclass(frozen=True)
class FPTArmData:
    """Everything that an arm may see.

    Attributes:
        data: items with ``key``, ``image`` and ``label``; those of the test section carry blank labels.
        task: ``"multiclass"`` or ``"multilabel"``.
        num_classes: K.
        backbone: frozen, at ``image_size``: for its name, fingerprint, mean, std and weights; never changed.
        network_config: names the backbone, its weights and ``image_size``.
        load: item to a float32 image (3, H, W) in [0, 1], read and prepared as the recipe does it, before the resize to a model's input.
        tokens: section to the tokens (N, T, C) of the last layer, float32, prefix tokens first; in the order of ``data``.
        num_prefix_tokens: how many of the T tokens are CLS or registers.
        has_class_token: whether the first of them is a CLS token.
        work_dir: an arm may keep decoded images there; all arms and seeds of a
            comparison share it, and the harness deletes it when the comparison is done.
        device: to compute on.
        class_weights: ``"equal"``, ``"balanced"`` or ``"decaying"``, as the recipe has it; see :class:`~monai_fpt.networks.FPTLoss`.
        mean, std: the recipe's normalisation of images in [0, 1], a number a channel.
        batch_size: the recipe's.
        flip_prob, vertical_flip_prob, rotate_prob: of the recipe's augmentation, for arms that read images.
    """

    data: FPTDataList
    task: str
    num_classes: int
    backbone: FrozenViT
    network_config: FPTConfig
    load: Callable[[Mapping[str, Any]], Tensor]
    tokens: Callable[[str], Tensor]
    num_prefix_tokens: int
    has_class_token: bool
    work_dir: Path
    device: torch.device
    class_weights: str
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    batch_size: int = 16
    flip_prob: float = 0.5
    vertical_flip_prob: float = 0.0
    rotate_prob: float = 0.0

    def labels(self, section: str) -> Tensor:
        """Labels of a section in the order of ``data``: (N,) int64, or (N, K) float32 for several findings.

        Raises:
            ValueError: the test section, whose labels no arm may see.
        """
        if section == "test":
            raise ValueError(
                "compare: an arm asked for the labels of the test section, which choose nothing; use those of validation."
            )
        labels = [item["label"] for item in self.data.section(section)]
        if self.task == "multilabel":
            return torch.tensor(labels, dtype=torch.float32).reshape(len(labels), self.num_classes)
        return torch.tensor(labels, dtype=torch.int64)


@dataclasses.dataclass(frozen=True)
class FPTArmResult:
    """What an arm gives.

    Attributes:
        logits: ``"validation"`` and ``"test"`` (where they have images) to logits (N, K) in the order of the data; log-probabilities are
            logits too.
        learnable_parameters: numbers that learn; 0 where nothing does.
        training_bytes: see :func:`monai_fpt.networks.counting.training_bytes`; None where no gradient is used.
        best_epoch: whose weights were kept, from 1; None where there are no epochs.
        chosen: what validation chose (``C``, ``k``, ``learning_rate``, ...).
        history: of every epoch its metrics.
    """

    logits: Mapping[str, Tensor]
    learnable_parameters: int
    training_bytes: int | None
    best_epoch: int | None = None
    chosen: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    history: list[Mapping[str, float]] = dataclasses.field(default_factory=list)


class FPTArm(Protocol):
    """A comparator. Where it is a dataclass, its fields are its settings: the harness keeps them beside the results."""

    def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        """Train, choose by validation, and answer validation and test."""
        ...


def without_test_labels(data: FPTDataList) -> FPTDataList:
    """The same list with blank labels (0, or no finding) in the test section."""
    blank: Any = 0 if data.task == "multiclass" else [0.0] * len(data.classes)
    return dataclasses.replace(data, test=[item | {"label": blank} for item in data.test])
