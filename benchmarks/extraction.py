"""Time of the frozen backbone per image, ours against plain, and whether both keep the same tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.cases import Options
from benchmarks.measure import Row, interleaved
from benchmarks.plain_fpt import PlainEncoder, plain_encoder
from monai_fpt.networks import FPTClassifier

__all__ = ["measure", "share_of_identical_tokens"]


def share_of_identical_tokens(ours: Tensor, theirs: Tensor, num_all: int) -> float:
    """Share of the kept tokens (..., M) that both keep, whatever their order."""
    empty = torch.zeros(*ours.shape[:-1], num_all, dtype=torch.bool, device=ours.device)
    both = empty.scatter(-1, ours, True) & empty.scatter(-1, theirs, True)
    return float(both.sum() / ours.numel())


def _autocast(model: FPTClassifier, image: Tensor) -> Tensor:
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        indices: Tensor = model.backbone(image).indices
    return indices


def measure(options: Options) -> list[Row]:
    model = FPTClassifier(options.config()).eval().to(options.device)
    plain = plain_encoder(model).to(options.device)
    batches = (1, 4) if options.device == "cpu" else (32,)
    return [row for batch in batches for row in _of_batch(options, model, plain, batch)]


def _of_batch(options: Options, model: FPTClassifier, plain: PlainEncoder, batch: int) -> list[Row]:
    image = torch.rand(batch, 3, options.image_size, options.image_size, device=options.device) * 2 - 1
    cases: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(image),
        "float32": lambda: model.backbone(image),
        "bfloat16": lambda: _autocast(model, image),
    }
    seconds = interleaved(cases, max(3, options.rounds // 2), options.device)
    theirs = plain(image)[2].transpose(0, 1)
    tokens = {
        "float32": share_of_identical_tokens(model.backbone(image).indices, theirs, model.backbone.num_all_tokens),
        "bfloat16": share_of_identical_tokens(_autocast(model, image), theirs, model.backbone.num_all_tokens),
    }
    reaches = {"float32": 1.5, "bfloat16": 2.7} if options.device == "cpu" else {"float32": 0.0, "bfloat16": 5.0}
    unit = "CPU-ms/image" if options.device == "cpu" else "GPU-ms/image"
    return [
        Row(
            f"extraction, {name}, batch {batch}",
            seconds[name] * 1e3 / batch,
            unit,
            seconds["plain"] * 1e3 / batch,
            seconds["plain"] / seconds[name],
            f">= {reach} x" if reach else "",
            seconds["plain"] / seconds[name] >= reach if reach else None,
            f"{100 * tokens[name]:.2f} % of the kept tokens identical (random weights)",
        )
        for name, reach in reaches.items()
    ]
