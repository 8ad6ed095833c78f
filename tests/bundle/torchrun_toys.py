"""Commands that start jobs of the bundle in several processes, and what they left on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.features import FeatureStore

CONFIGS = fpt_bundle_root() / "configs"
EXTRACT = (CONFIGS / "extract.json", CONFIGS / "multi_gpu_extract.json")
TRAIN = (CONFIGS / "train.json", CONFIGS / "multi_gpu_train.json")
TINY = (
    "--backbone",
    "vit_tiny_patch16_224",
    "--backbone_weights",
    "random",
    "--network_config#backbone_kwargs",
    "{'depth': 4}",
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")
PLAIN = (sys.executable,)


def environment(**changes: str) -> dict[str, str]:
    """One thread a process, no GPU, and nothing left of another torchrun."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return inherited | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | changes


def command(job: str, files: tuple[Path, ...], options: dict[str, Any], processes: int = 0) -> list[str]:
    """``python -m monai.bundle run`` of a job, under torchrun where a number of processes is given."""
    head = [*TORCHRUN, f"--nproc_per_node={processes}"] if processes else list(PLAIN)
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [*head, "-m", "monai.bundle", "run", job, "--config_file", listed, *TINY, *given]


def run(*arguments: Any, processes: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, processes=processes),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def records(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """Key to content of the image, facts and the record's bytes, of every image of a cache."""
    store = FeatureStore(folder)
    size = store.layout.num_bytes
    parts = {path.stem: path.read_bytes() for path in (folder / "parts").glob("*.bin")}
    return {e.key: (e.sha256, e.facts, parts[e.part][e.row * size :][:size]) for e in store}
