"""Time and peak memory of reading one image with the frozen ViT-B/16.

    python -m benchmarks.large_image [--size 2048] [--batch 1] [--tokens 205] [--compute float32|bfloat16]

Random weights and a random image: neither changes time or memory. Prints CPU-seconds and wall seconds per image and the peak resident memory
of the process.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import time

import torch

import monai_fpt  # noqa: F401
from benchmarks.cases import Options
from benchmarks.measure import Row
from monai_fpt.networks import FPTConfig, frozen_backbone


def measure(options: Options) -> list[Row]:
    """Peak memory of a process of its own that reads one large image."""
    command = [sys.executable, "-m", "benchmarks.large_image", "--size", str(options.large)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = (float(re.search(rf"([\d.]+) {unit}", printed)[1]) for unit in ("CPU-s", "GB"))  # type: ignore[index]
    note = f"{seconds:.0f} CPU-s; the probabilities of one block alone would be 12.9 GB"
    return [
        Row(f"extraction at {options.large} px, peak memory", peak, "GB", reach="<= 2 GB", reached=peak <= 2, note=note)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=205)
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = FPTConfig(
        backbone="vit_base_patch16_384", backbone_weights=None, image_size=options.size, num_tokens=options.tokens
    )
    backbone = frozen_backbone(config)
    image = torch.randn(options.batch, 3, options.size, options.size)
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=options.compute == "bfloat16"):
        features = backbone(image).features
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{options.size} px, batch {options.batch}, {options.compute}, features {tuple(features.shape)}: "
        f"{cpu / options.batch:.2f} CPU-s and {wall / options.batch:.2f} s per image, peak memory {peak / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
