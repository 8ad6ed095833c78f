"""What five folds cost beside one: CPU seconds of one thread, on one cache.

    python -m benchmarks.cross_validation FOLDER [--epochs 10] [--rounds 3] [--id=value ...]

Times, in turn and each in a folder of its own, a training of one fold by the bundle, the same fold alone in the engine
of ``monai_fpt.experiments``, and all folds side by side, in one pass and one network after the other; start-up of Python,
tracking, validation, test and predictions included, extraction not (it is done once, before). The median of the rounds and
the ratios to one training of the bundle are printed and written to FOLDER/cross_validation_benchmark.json.

``--id=value`` are ids of the bundle (``--dataset_dir=...``, ``--backbone=...``); without a ``dataset_dir`` 160 small images
are drawn and a ViT-Tiny of random weights reads them at 512 px.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

JOBS = (
    "bundle, one fold",
    "engine, one fold",
    "engine, all folds, one after the other",
    "engine, all folds in one pass",
)
REACH = 4.0


def drawn_images(folder: Path, count: int = 80) -> Path:
    """Two class folders of noise."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(30 * label, 200 + 30 * label, (160, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def run_job(job: str, overrides: dict[str, Any], folds: int) -> None:
    """One of the jobs, in this process."""
    import torch

    torch.set_num_threads(1)
    from monai_fpt.experiments import training
    from monai_fpt.experiments.folds import fold_lists
    from monai_fpt.experiments.member import FPTMemberPlan
    from monai_fpt.experiments.recipe import open_recipe
    from monai_fpt.experiments.runs import experiment_tracker, run_plans

    recipe = open_recipe(overrides)
    plans = [FPTMemberPlan(f"fold_{i}", data) for i, data in enumerate(fold_lists(recipe.data, folds), start=1)]
    together = job.endswith("one pass")
    plain = training.train_members
    from monai_fpt.experiments import runs

    runs.train_members = lambda *args, **kwargs: plain(*args, **{**kwargs, "together": together})  # type: ignore[assignment]
    tracker = experiment_tracker(recipe, {}, "benchmark")
    some = plans if "all folds" in job else plans[:1]
    run_plans(recipe, some, tracker, engine=job.split(",")[0].replace("engine", "stack"), at_once=folds, quiet=True)
    tracker.close()


def cpu_seconds(job: str, overrides: dict[str, Any], folds: int) -> float:
    """CPU time of a fresh process that does a job."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [
        sys.executable,
        "-m",
        "benchmarks.cross_validation",
        "--job",
        job,
        "--folds",
        str(folds),
        json.dumps(overrides),
    ]
    before = os.times()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    known, rest = parser.parse_known_args()
    if known.job:
        run_job(known.job, json.loads(known.folder), known.folds)
        return
    folder = Path(known.folder).absolute()
    ids: dict[str, Any] = {}
    for word in rest:
        name, _, value = word.removeprefix("--").partition("=")
        try:
            ids[name] = json.loads(value)
        except ValueError:
            ids[name] = value
    if "dataset_dir" not in ids:
        ids |= {
            "dataset_dir": str(drawn_images(folder / "images")),
            "backbone": "vit_tiny_patch16_224",
            "backbone_weights": "random",
        }
    ids = {"cache_dir": str(folder / "features"), "max_epochs": known.epochs, "device": "cpu", "report": False, **ids}
    from monai_fpt.experiments.recipe import open_recipe

    open_recipe({**ids, "run_dir": str(folder / "filling")})
    times: dict[str, list[float]] = {job: [] for job in JOBS}
    for turn in range(known.rounds):
        for place, job in enumerate(JOBS):
            run_dir = folder / f"run_{turn}_{place}"
            shutil.rmtree(run_dir, ignore_errors=True)
            times[job].append(cpu_seconds(job, {**ids, "run_dir": str(run_dir)}, known.folds))
            print(f"round {turn + 1}: {job} {times[job][-1]:.1f} CPU-s", flush=True)
            shutil.rmtree(run_dir, ignore_errors=True)
    one = statistics.median(times[JOBS[0]])
    print(
        f"\n{known.folds} folds, {known.epochs} epochs, {time.strftime('%Y-%m-%d')}, reach: all folds in at most {REACH:g} x one\n"
    )
    print("| job | CPU-s (median) | ratio to one training of the bundle |\n|---|---|---|")
    for job, seconds in times.items():
        print(f"| {job} | {statistics.median(seconds):.1f} | {statistics.median(seconds) / one:.2f} |")
    (folder / "cross_validation_benchmark.json").write_text(
        json.dumps({"seconds": times, "epochs": known.epochs}, indent=1)
    )


if __name__ == "__main__":
    main()
