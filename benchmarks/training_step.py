"""Time of a training step with features in memory: forward, backward, clipping and AdamW, ours against plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Case, Options
from benchmarks.measure import Row, interleaved

__all__ = ["measure", "step"]


def step(module: nn.Module, loss: Callable[[], Tensor], **optimizer: Any) -> Callable[[], None]:
    """A whole training step of a module as a function."""
    learned = [p for p in module.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(learned, lr=1e-4, weight_decay=0.1, **optimizer)

    def run() -> None:
        adam.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        adam.step()

    return run


def measure(options: Options) -> list[Row]:
    rows = []
    for method, reach in (("fpt_plus", 1.6), ("fpt", 2.0)):
        case, again = Case(options, method=method), Case(options, method=method, recompute=True)
        half = case.stored("float16")
        difference, gradients = case.largest_gradient_difference(half)
        cases = {
            "plain": step(case.plain, case.plain_loss),
            "float16": step(case.model, lambda c=case, f=half: c.loss(f)),  # type: ignore[misc]
            "float16, recomputed": step(again.model, lambda c=again, f=half: c.loss(f)),  # type: ignore[misc]
        }
        if method == "fpt_plus":
            codes = case.stored("int8")
            cases["int8"] = step(case.model, lambda c=case, f=codes: c.loss(f))  # type: ignore[misc]
            cases["float16, bf16 autocast"] = step(case.model, lambda c=case, f=half: _autocast(c, f))  # type: ignore[misc]
        rounds = options.rounds if method == "fpt_plus" else max(3, options.rounds // 3)
        seconds = interleaved(cases, rounds, options.device)
        for name in list(cases)[1:]:
            ratio = seconds["plain"] / seconds[name]
            counted = name == "float16"
            rows.append(
                Row(
                    f"training step {'FPT+' if method == 'fpt_plus' else 'FPT'}, {name}",
                    seconds[name] * 1e3,
                    "ms",
                    seconds["plain"] * 1e3,
                    ratio,
                    f">= {reach} x" if counted else "",
                    ratio >= reach if counted else None,
                    f"loss differs by {difference:.0e}, gradients by {gradients:.0e} of the largest" if counted else "",
                )
            )
    return rows


def _autocast(case: Case, features: Any) -> Tensor:
    with torch.autocast(case.image.device.type, dtype=torch.bfloat16):
        return case.loss(features)
