"""Processor seconds of starting: ``import monai_fpt`` beyond ``import monai``, and ``monai-fpt --help`` beyond Python."""

from __future__ import annotations

import importlib.util
import resource
import statistics
import subprocess
import sys

from benchmarks.cases import Options
from benchmarks.measure import Row

__all__ = ["measure"]


def _seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(options: Options, rounds: int = 3) -> list[Row]:
    if importlib.util.find_spec("monai") is None:
        return []
    commands = {
        "python": ("-c", "pass"),
        "monai": ("-c", "import monai"),
        "ours": ("-c", "import monai, monai_fpt"),
        "help": ("-m", "monai_fpt", "--help"),
    }
    laps: dict[str, list[float]] = {name: [] for name in commands}
    for lap in range(rounds + 1):
        for name, arguments in commands.items():
            spent = _seconds(*arguments)
            if lap:  # the first round fills the page cache
                laps[name].append(spent)
    seconds = {name: statistics.median(values) for name, values in laps.items()}
    added, shown = seconds["ours"] - seconds["monai"], seconds["help"] - seconds["python"]
    return [
        Row("import monai_fpt beyond import monai", added, "CPU-s", reach="< 0.3 s", reached=added < 0.3),
        Row("monai-fpt --help beyond Python", shown, "CPU-s", reach="< 1 s", reached=shown < 1),
    ]
