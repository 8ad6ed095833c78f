"""Whether ``torch.compile`` pays: a training step and the inference of one image, compiled against eager, and the compile time.

On a CPU by inductor's C++ (a compiler must be there), on a GPU by inductor, and by CUDA graphs
(``mode="reduce-overhead"``). Compiled is the whole network as a training from a cache calls it (side image and features),
and as inference calls it (the image alone). After how many images the time of compiling is won back stands beside the ratio;
compile time is wall time of the first call less that of a later one. Both sides compute the same numbers within rounding,
which is said.
The backbone's tap is Python between the blocks; where a compiler cannot make one graph of it, the row says so, and inference
stays eager.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, Options
from benchmarks.measure import Row, interleaved
from benchmarks.training_step import step
from monai_fpt.networks import FPTClassifier

__all__ = ["measure"]

_WHATS = ("training step FPT+, compiled", "inference, one image, compiled")


def measure(options: Options) -> list[Row]:
    if options.device == "cpu" and shutil.which("g++") is None and shutil.which("clang++") is None:
        return [Row(what, None, "ms", note="not measured: inductor needs a C++ compiler here") for what in _WHATS]
    modes = {"inductor": "default"} | ({"CUDA graphs": "reduce-overhead"} if options.device == "cuda" else {})
    return [
        row
        for name, mode in modes.items()
        for row in (*_training(options, name, mode), *_inference(options, name, mode))
    ]


def _training(options: Options, name: str, mode: str) -> list[Row]:
    case = Case(options)
    half = case.stored("float16")
    compiled = torch.compile(case.model, mode=mode, fullgraph=True)

    def loss() -> Tensor:
        return torch.nn.functional.cross_entropy(compiled(case.image, half), case.labels)

    eager = float(case.loss(half).detach())
    seconds = _first(lambda: loss().backward())  # type: ignore[no-untyped-call]
    difference = abs(float(loss().detach()) - eager)
    case.model.zero_grad(set_to_none=True)
    cases = {"eager": step(case.model, lambda: case.loss(half)), "compiled": step(case.model, loss)}
    return [_row(f"{_WHATS[0]}, {name}", cases, options, options.rounds, seconds, difference, options.batch)]


@torch.inference_mode()
def _inference(options: Options, name: str, mode: str) -> list[Row]:
    model = FPTClassifier(options.config()).eval().to(options.device)
    image = torch.rand(1, 3, options.image_size, options.image_size, device=options.device) * 2 - 1
    compiled = torch.compile(model, mode=mode, fullgraph=True)
    rounds = max(3, options.rounds // 2)
    try:
        seconds = _first(lambda: compiled(image))
    except Exception as error:  # whatever a compiler raises
        eager = interleaved({"eager": lambda: model(image)}, rounds, options.device)["eager"] * 1e3
        return [
            Row(f"{_WHATS[1]}, {name}", eager, "ms", note=f"stays eager, cannot be one graph: {_first_line(error)}")
        ]
    difference = float((compiled(image) - model(image)).abs().max())
    cases: dict[str, Callable[[], Any]] = {"eager": lambda: model(image), "compiled": lambda: compiled(image)}
    return [_row(f"{_WHATS[1]}, {name}", cases, options, rounds, seconds, difference, 1)]


def _first(call: Callable[[], Any]) -> float:
    """Wall seconds that a first call takes beyond a second one."""
    laps = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        laps.append(time.perf_counter() - start)
    return max(0.0, laps[0] - laps[1])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:100]}".replace("|", "/")


def _row(
    what: str,
    cases: dict[str, Callable[[], Any]],
    options: Options,
    rounds: int,
    compiling: float,
    difference: float,
    images: int,
) -> Row:
    seconds = interleaved(cases, rounds, options.device)
    saved = (seconds["eager"] - seconds["compiled"]) / images
    back = f"won back after {compiling / saved:,.0f} images" if saved > 0 else "never won back"
    note = f"compiling takes {compiling:.0f} s, {back}; results differ by {difference:.0e}"
    eager, ours = seconds["eager"], seconds["compiled"]
    return Row(what, ours * 1e3, "ms", eager * 1e3, eager / ours, note=note)
