"""How the benchmarks of networks and features measure, and the rows they print.

Timings are seconds of one thread on the processor (``time.thread_time``), of both sides in turn in one process, medians;
on a GPU, milliseconds between CUDA events. Bytes are counted by :mod:`monai_fpt.networks.counting`.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

__all__ = ["MIB", "Row", "interleaved", "machine", "table"]

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: measured thing.
        plain: figure of the yardstick, or None.
        ours: figure of this package; None where it wants a GPU.
        unit: of both.
        ratio: how many times better ours is; None where only ours counts.
        reach: what is to be reached, as text.
        reached: whether it is; None where nothing is to be reached or nothing was measured.
        note: what else must be said.
    """

    what: str
    ours: float | None
    unit: str
    plain: float | None = None
    ratio: float | None = None
    reach: str = ""
    reached: bool | None = None
    note: str = ""


def interleaved(cases: dict[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> dict[str, float]:
    """Median seconds of each case, all of them in turn in every round; the first round is for warming up."""
    laps: dict[str, list[float]] = {name: [] for name in cases}
    for lap in range(rounds + 1):
        for name, case in cases.items():
            seconds = _cuda_seconds(case) if device == "cuda" else _thread_seconds(case)
            if lap:
                laps[name].append(seconds)
    return {name: statistics.median(values) for name, values in laps.items()}


def _thread_seconds(case: Callable[[], Any]) -> float:
    start = time.thread_time()
    case()
    return time.thread_time() - start


def _cuda_seconds(case: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    case()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| what | plain | ours | unit | ratio | reach | reached | note |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        reached = {True: "yes", False: "**no**", None: ""}[row.reached]
        ours = "wants a GPU" if row.ours is None else _figure(row.ours)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        plain = "" if row.plain is None else _figure(row.plain)
        lines.append(f"| {row.what} | {plain} | {ours} | {row.unit} | {ratio} | {row.reach} | {reached} | {row.note} |")
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
