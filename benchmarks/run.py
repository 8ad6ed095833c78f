"""All measurements of networks and features by one command.

    python -m benchmarks.run [NAME ...] [--json FILE] [--rounds 9] [--large]

NAMEs are those of ``BENCHMARKS`` (training_memory, training_step, ...); without any, all are run, on the CPU with one
thread and, where there is one, on the GPU. ``--large`` adds the image of 2048 px, some minutes of a processor. Prints the
table with what is to be reached beside each figure, and writes it as JSON. Needs torch, timm, numpy, safetensors and
Pillow, and no MONAI; ``GOMP_SPINCOUNT=0`` is set for the processes it starts, and should be for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import (
    cold_disk,
    compile,
    disk,
    epoch,
    extraction,
    gpu,
    inference,
    large_image,
    processes,
    resident,
    scaling,
    startup,
    training_memory,
    training_step,
)
from benchmarks.cases import Options
from benchmarks.measure import Row, machine, table

__all__ = ["BENCHMARKS", "main"]

BENCHMARKS: dict[str, Callable[[Options], list[Row]]] = {
    "training_memory": training_memory.measure,
    "gpu": gpu.measure,
    "disk": disk.measure,
    "extraction": extraction.measure,
    "training_step": training_step.measure,
    "epoch": epoch.measure,
    "inference": inference.measure,
    "scaling": scaling.measure,
    "processes": processes.measure,
    "cold_disk": cold_disk.measure,
    "resident": resident.measure,
    "compile": compile.measure,
    "startup": startup.measure,
    "large_image": large_image.measure,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--large", action="store_true", help="also one image of 2048 px")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    names = options.names or [name for name in BENCHMARKS if name != "large_image" or options.large]
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    torch.set_num_threads(1)
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = BENCHMARKS[name](Options(rounds=options.rounds))
        print(
            "\n".join(table(found).splitlines()[2:]), file=sys.stderr, flush=True
        )  # what is known already, if it is ended
        rows += found
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), end="\n\n")
    print(table(rows))
    content = {"machine": facts, "rows": [dataclasses.asdict(row) for row in rows]}
    beside = options.json.with_name(f".{options.json.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(beside, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
