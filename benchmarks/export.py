"""What exported files cost and how they agree: ``python -m benchmarks.export RUN_DIR FILE...``.

A run is exported in each format. Then one image and a batch of four are asked in turns, the eager network and each file, with one thread each; the
figures are medians of that thread's seconds, from pixels in [0, 1] to probabilities. And each image file given is asked of the eager network and of
each file: how many agree within 1e-4, and by how much the others differ.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import interleaved, machine
from monai_fpt.export import FPTDeployedNetwork, fpt_export
from monai_fpt.export.agreement import TOLERANCE, FileAnswers
from monai_fpt.export.onnx_file import open_onnx
from monai_fpt.export.torch_files import open_program, open_script
from monai_fpt.registry import FPTPredictor
from monai_fpt.transforms import FPTResize

OPEN = {"onnx": open_onnx, "torch_export": open_program, "torchscript": open_script}


def time_row(batch: int, eager: FPTDeployedNetwork, files: dict[str, FileAnswers], rounds: int) -> str:
    """Milliseconds of a batch, and how many times faster than the eager network."""
    images = torch.rand(batch, 3, eager.image_size, eager.image_size, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def ask_eagerly() -> None:
        eager(images)

    cases = {"eager": ask_eagerly} | {name: (lambda ask=ask: ask(images)) for name, ask in files.items()}
    seconds = interleaved(cases, rounds)
    cells = [
        f"{1e3 * taken:.0f} ({seconds['eager'] / taken:.2f})" for name, taken in seconds.items() if name != "eager"
    ]
    return f"| {batch} | {1e3 * seconds['eager']:.0f} | {' | '.join(cells)} |"


def agreement_row(name: str, ask: FileAnswers, images: list[Tensor], logits: Tensor) -> str:
    """How a file answers real images one by one."""
    found = torch.cat([ask(image.unsqueeze(0))["logits"] for image in images])
    differences = (found - logits).abs().amax(dim=1)
    odd = differences[differences > TOLERANCE]
    classes = int((found.argmax(dim=1) != logits.argmax(dim=1)).sum())
    largest = f"{odd.max().item():.1e}" if len(odd) else ""
    return f"| {name} | {len(images) - len(odd)} of {len(images)} | {differences.median().item():.1e} | {len(odd)} | {largest} | {classes} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = FPTPredictor.from_folder(options.run_dir, options.backbone_weights)
    card, backbone = predictor.card, predictor.network.backbone
    eager = FPTDeployedNetwork(predictor.network, **card.normalization(backbone.mean, backbone.std), task=card.task)
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory() as folder:
        made = {
            name: fpt_export(options.run_dir, name, Path(folder) / name, backbone_weights=options.backbone_weights)
            for name in OPEN
        }
        files = {name: OPEN[name](exported.path) for name, exported in made.items()}
    for name, exported in made.items():
        print(f"{name}: {exported.num_bytes / 1e6:.1f} MB")
    print(
        f"\n| batch | eager, ms | {' | '.join(f'{name}, ms (times faster)' for name in files)} |\n|{'---|' * (2 + len(files))}"
    )
    for batch in (1, 4):
        print(time_row(batch, eager, files, options.rounds), flush=True)
    if options.files:
        images = [FPTResize(eager.image_size)(predictor.read(file)) for file in options.files]
        with torch.inference_mode():
            logits = torch.cat([eager(image.unsqueeze(0))["logits"] for image in images])
        print(
            f"\n| format | within {TOLERANCE:g} | median | others | at most | another class |\n|---|---|---|---|---|---|"
        )
        for name, ask in files.items():
            print(agreement_row(name, ask, images, logits), flush=True)


if __name__ == "__main__":
    main()
