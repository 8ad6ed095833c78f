"""How long a retraining takes once the features are cached: from labels to a published model.

    python -m benchmarks.label_training [--backbone vit_tiny_patch16_224] [--labels 200] [--threads 2] [--rounds 3]

An app's model folder and a cache of random features of the real shape (512 px, the bundle's settings) are made in a temporary
folder; the images' brightness tells their class, so that something is learned. Timed is ``FPTRetrainer.retrain`` with the
app's default options: looking up the cache, split, label history, training, comparing both models on the validation images,
publishing, and loading what was published. Loading the frozen backbone before is not in it, the server has it already; nor is MLflow,
which is told afterwards.
Prints wall and CPU seconds of each round, the first trained anew (there is no trained model yet), the others from the present
one, and the same for loading what was published.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.training import FPTRetrainer
from monai_fpt.networks import FPTConfig


def fill(model: PresentModel, count: int) -> list[dict[str, Any]]:
    """Write ``count`` images' features to the cache; their labels as a data list has them."""
    spec, store = model.features.spec, model.features.store
    generator = torch.Generator().manual_seed(0)
    items = []
    with store.writer() as writer:
        for number in range(count):
            label = number % 2
            features = torch.randn(spec.feature_shape, generator=generator)
            indices = torch.zeros(len(spec.blocks), spec.num_heads, spec.num_tokens, dtype=torch.int64)
            size = spec.thumbnail_size
            thumbnail = torch.randint(60 * label, 140 + 60 * label, (3, size, size), generator=generator).to(
                torch.uint8
            )
            writer.add(f"{number}.png", f"{number:064d}", 1, 1, features, indices, thumbnail)
            items.append({"key": f"{number}.png", "image": f"/gone/{number}.png", "label": label})
            if number % 16 == 15:
                writer.flush()
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = FPTConfig(backbone=chosen.backbone, backbone_weights=None, image_size=512)
        FPTModelCard(config, classes=("dark", "bright")).save(folder / "model" / "model.json")
        model = PresentModel(folder / "model", folder / "cache")
        items = fill(model, chosen.labels)
        retrainer = FPTRetrainer(model, track=False)
        print(f"{chosen.backbone}, {chosen.labels} labels, {chosen.threads} threads")
        for _ in range(chosen.rounds):
            wall, cpu = time.monotonic(), time.process_time()
            outcome = retrainer.retrain(items)
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            loading = time.monotonic()
            version = model.predictor and model.version
            loading = time.monotonic() - loading
            epochs = retrainer.stats.read()["epoch"]
            print(
                f"{outcome.start}: {wall:.1f} s wall, {cpu:.1f} s CPU, {epochs} epochs of {outcome.training_images} images; "
                f"version {version} answers {loading:.2f} s later; {outcome.message}",
                flush=True,
            )


if __name__ == "__main__":
    main()
