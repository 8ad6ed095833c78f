"""Bytes of a training step: what autograd keeps, weights, gradients and optimizer state, and the batch.

``kept`` is counted at the end of the forward pass; where blocks are computed again, one block's own is alive for a moment
on top of it, in ours as in the others, and is told in the note. The frozen backbone is no part of training from a cache;
fine-tuning must have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Case, Options
from benchmarks.measure import MIB, Row
from benchmarks.plain_tuning import autocast_loss, full_tuning, lora_tuning
from monai_fpt.networks.counting import training_bytes as step_bytes

__all__ = ["measure", "training_bytes"]


def training_bytes(module: nn.Module, loss: Callable[[], Tensor], inputs: list[Tensor], resident: bool) -> int:
    """Kept + state + inputs of one step of AdamW."""
    learned = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=0.1)
    return step_bytes(module, loss, inputs, optimizer, resident=resident)


def _tensors(features: Any) -> list[Tensor]:
    return list(features) if isinstance(features, tuple) else [features]


def _tuned(vit: Any, options: Options) -> float:
    """Of fine-tuning, from batches of 1 and 2: what is kept grows by the image."""

    def total(batch: int) -> int:
        image = torch.zeros(batch, 3, options.image_size, options.image_size)
        labels = torch.zeros(batch, dtype=torch.int64)
        return training_bytes(vit, lambda: autocast_loss(vit, image, labels), [image, labels], resident=True)

    one, two = total(1), total(2)
    return (one + (two - one) * (options.batch - 1)) / MIB


def measure(options: Options) -> list[Row]:
    options = Options(**{**vars(options), "device": "cpu"})  # bytes are the same everywhere
    full = _tuned(full_tuning(options.backbone, options.image_size, 5), options)
    lora = _tuned(lora_tuning(options.backbone, options.image_size, 5), options)
    case = Case(options)
    plain = (
        training_bytes(case.plain, case.plain_loss, [case.image, case.labels, case.keys, case.values], resident=True)
        / MIB
    )
    rows = [
        Row("training bytes, full fine-tuning (SDPA, bf16, checkpointed)", full, "MiB"),
        Row("training bytes, LoRA (SDPA, bf16, checkpointed)", lora, "MiB"),
    ]
    for recompute, dtype, reach in (
        (False, "float16", None),
        (True, "float16", 100),
        (False, "int8", None),
        (True, "int8", 60),
    ):
        case = Case(options, recompute=recompute)
        features = case.stored(dtype)
        inputs = [case.image, case.labels, *_tensors(features)]
        difference, gradients = case.largest_gradient_difference(features)
        ours = training_bytes(case.model, lambda c=case, f=features: c.loss(f), inputs, resident=False) / MIB  # type: ignore[misc]
        note = (
            f"{full / ours:.0f} x less than full fine-tuning, {lora / ours:.0f} x than LoRA; loss differs by {difference:.0e}, "
            f"gradients by {gradients:.0e} of the largest"
        )
        rows.append(
            Row(
                f"training bytes, {dtype}{', recomputed' if recompute else ''}",
                ours,
                "MiB",
                plain,
                plain / ours,
                f"<= {reach} MiB" if reach else "",
                ours <= reach if reach else None,
                note,
            )
        )
    return rows
