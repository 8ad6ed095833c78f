"""Resolution at a fixed token budget (``num_tokens``): bytes, time and disk of training must not grow with it."""

from __future__ import annotations

import torch

from benchmarks.cases import Case, Options
from benchmarks.measure import MIB, Row, interleaved
from benchmarks.training_memory import training_bytes
from benchmarks.training_step import step
from monai_fpt.features import FeatureSpec
from monai_fpt.features.codec import RecordLayout
from monai_fpt.networks import FPTClassifier

__all__ = ["SIZES", "measure"]

SIZES = (512, 1024, 2048)
_BUDGET = 205


def measure(options: Options) -> list[Row]:
    cases, steps, kept, disk = {}, {}, {}, {}
    for size in SIZES:
        changes = {"image_size": size, "token_ratio": None, "num_tokens": _BUDGET}
        case = cases[size] = Case(options, **changes)
        half = case.stored("float16")
        loss = lambda c=case, f=half: c.loss(f)  # noqa: E731
        kept[size] = training_bytes(case.model, loss, [case.image, case.labels, half], resident=False) / MIB
        steps[str(size)] = step(case.model, loss)
        with torch.device("meta"):
            network = FPTClassifier(options.config(**changes))
        disk[size] = RecordLayout(FeatureSpec.from_network(network)).num_bytes / 1e6
    seconds = interleaved(steps, options.rounds, options.device)
    times = {size: seconds[str(size)] * 1e3 for size in SIZES}
    rows = []
    for what, unit, figures in (
        ("training bytes", "MiB", kept),
        ("training step", "ms", times),
        ("disk", "MB/image", disk),
    ):
        spread = max(figures.values()) / min(figures.values()) - 1
        figures_text = ", ".join(f"{size} px: {figures[size]:.4g}" for size in SIZES)
        rows.append(
            Row(
                f"{what}, 512 to 2048 px, {_BUDGET} tokens",
                100 * spread,
                f"% spread of {unit}",
                reach="<= 5 %",
                reached=spread <= 0.05,
                note=figures_text,
            )
        )
    return rows
