"""What cheaper features cost on real images: tokens kept, and AUC, of a bfloat16 pass, float16 and int8 against float32.

    python -m benchmarks.real_images IMAGES --work FOLDER [--backbone NAME] [--backbone_weights FILE] [--seeds 0 1 2]
        [--max_epochs 20] [--config stable] [--json FILE]

IMAGES is a labelled data set as ``monai-fpt train`` takes it. The backbone reads it twice, in float32 and under bfloat16
autocast, into caches of float32; the other caches are encoded from these by the store itself, which is what an extraction
with that ``feature_dtype`` writes. FOLDER keeps caches and runs, so that the command goes on where it was. Then, by seed:

- asked: the network trained on float32 features answers the test images from the other caches. This is what rounding alone
  does, for nothing else differs;
- trained: the bundle trains on the other cache, everything else equal. Rounding sends a training on another way, as another
  seed does, so that this difference is mostly that of two trainings.

Differences of the AUC are paired, over resamples of the test images' patients (the same for all seeds), and averaged over
seeds; the interval is that of the average, for these trainings: it does not hold what other seeds would give.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.extraction import share_of_identical_tokens
from monai_fpt.bundle import fpt_bundle_root, run_bundle
from monai_fpt.data import FPTDataList
from monai_fpt.features import FeatureDataset, FeatureStore, FPTModelCard
from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.units import scored_units
from monai_fpt.networks import FPTClassifier, QuantizedFeatures
from monai_fpt.report.measure import measured_summary
from monai_fpt.report.resample import resampled_weights
from monai_fpt.transforms import FPTNormalize, FPTResize

__all__ = ["CACHES", "PairedDifference", "ask", "paired_difference", "recode", "token_shares"]

CACHES: dict[str, tuple[str, str]] = {  # name: precision of the pass, precision of the cache
    "float32": ("float32", "float32"),
    "float16": ("float32", "float16"),
    "int8": ("float32", "int8"),
    "bfloat16 pass, float16": ("bfloat16", "float16"),
    "bfloat16 pass, int8": ("bfloat16", "int8"),
}


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """AUC of the other minus AUC of the first, mean over seeds, with the 95 % interval over patients."""

    first: float
    other: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.other:.4f} ({self.other - self.first:+.4f} [{self.low:+.4f}, {self.high:+.4f}])"


def paired_difference(
    first: Sequence[FPTPredictions], other: Sequence[FPTPredictions], resamples: int = 2000
) -> PairedDifference:
    """Compare two kinds of networks, of each kind one a seed, on the same images in the same order.

    Raises:
        ValueError: the predictions are not of the same images in the same order.
    """
    every = [*first, *other]
    if len(first) != len(other) or any(
        one.keys != every[0].keys or not np.array_equal(one.labels, every[0].labels) for one in every
    ):
        raise ValueError("The predictions are not of the same images in the same order; evaluate all on one data list.")
    kinds = [[scored_units(one) for one in predictions] for predictions in (first, other)]
    drawn: list[np.ndarray] = []
    for weights in resampled_weights(kinds[0][0], resamples, seed=0):
        drawn.append(np.mean([[measured_summary(one, weights)["auc"] for one in kind] for kind in kinds], axis=1))
    a, b = np.concatenate(drawn, axis=1)
    low, high = np.nanpercentile((b - a)[1:], [2.5, 97.5])
    return PairedDifference(float(a[0]), float(b[0]), float(low), float(high))


def recode(source: FeatureStore, folder: Path, dtype: Any) -> FeatureStore:
    """The images of a cache of float32 in a new cache of another precision, as extraction would have written them."""
    version = 2 if dtype == "int8" else 1
    store = FeatureStore(folder, dataclasses.replace(source.spec, dtype=dtype, format_version=version))
    missing = [entry for entry in source if entry.key not in store]
    if missing:
        with store.writer() as writer:
            for entry in missing:
                read = source.read(entry)
                assert isinstance(read.features, Tensor)
                facts = (entry.key, entry.sha256, entry.size, entry.mtime_ns)
                writer.add(*facts, read.features, read.indices, read.thumbnail, facts=entry.facts)
    return store


def token_shares(ours: FeatureStore, theirs: FeatureStore) -> dict[int, float]:
    """Tapped block to the share of the kept tokens that both caches keep, over all images and heads."""
    by_key = {entry.key: entry for entry in theirs}
    pairs = [(ours.read(entry).indices, theirs.read(by_key[entry.key]).indices) for entry in ours]
    a, b = (torch.stack(side) for side in zip(*pairs, strict=True))
    total = ours.spec.num_all_tokens
    return {n: share_of_identical_tokens(a[:, i], b[:, i], total) for i, n in enumerate(ours.spec.blocks)}


@torch.no_grad()
def ask(run_dir: Path, images: Path, store: FeatureStore) -> FPTPredictions:
    """What a trained network says to its test images, which lie in ``images``, with features of another cache."""
    card = FPTModelCard.load(run_dir / "model.json")
    network = FPTClassifier(card.network).eval()
    network.load_state_dict(torch.load(run_dir / "model.pt", weights_only=True))
    known = FPTPredictions.load(run_dir / "test_predictions.json")
    items = {item["key"]: item for item in FPTDataList.load(run_dir / "data_list.json", images).test}
    resize, normalize = FPTResize(network.side_size), FPTNormalize(store.spec.mean, store.spec.std)
    dataset = FeatureDataset([items[key] for key in known.keys], store)
    logits = []
    for item in (dataset[index] for index in range(len(dataset))):
        features = item["features"]
        batch = QuantizedFeatures(*(p[None] for p in features)) if isinstance(features, tuple) else features[None]
        logits.append(network(torch.as_tensor(normalize(resize(item["image"])))[None], batch)[0])
    return dataclasses.replace(known, logits=torch.stack(logits).double().numpy())


class Trials:
    """Caches and trainings of one data set, made where the folder does not hold them.

    Args:
        images: the data set.
        work: folder of caches and runs.
        common: ids of the bundle that all jobs share (backbone, size, ...).
        training: ids of the trainings alone.
        presets: names of presets of the trainings.
    """

    def __init__(
        self,
        images: Path,
        work: Path,
        common: Mapping[str, Any],
        training: Mapping[str, Any],
        presets: Sequence[str] = (),
    ) -> None:
        self.images, self.work, self.common, self.training = images, work, dict(common), dict(training)
        self.presets = tuple(str(fpt_bundle_root() / "configs" / "presets" / f"{name}.json") for name in presets)
        self._read: dict[str, FeatureStore] = {}

    def cache(self, name: str) -> FeatureStore:
        """The cache of this name, see ``CACHES``."""
        compute, dtype = CACHES[name]
        if compute not in self._read:
            folder = self.work / f"{compute}_float32"
            options = {"feature_dtype": "float32", "compute_dtype": compute, "cache_dir": str(folder)}
            _quietly("extract", {"dataset_dir": str(self.images), **self.common, **options})
            self._read[compute] = FeatureStore(folder)
        source = self._read[compute]
        return source if dtype == "float32" else recode(source, self.work / f"{compute}_{dtype}", dtype)

    def train(self, name: str, seed: int) -> Path:
        """Folder of the bundle's training on a cache."""
        compute, dtype = CACHES[name]
        run_dir = self.work / "runs" / f"{compute}_{dtype}_seed_{seed}"
        options = {"feature_dtype": dtype, "compute_dtype": compute, "cache_dir": str(self.cache(name).path)}
        quiet = {"track": False, "report": False, "system_metrics": False}
        if not (run_dir / "test_predictions.json").exists():
            overrides = {"dataset_dir": str(self.images), "run_dir": str(run_dir), "seed": seed, "split_seed": 0}
            print(f"training on {name}, seed {seed}", flush=True)
            _quietly("train", {**overrides, **self.common, **self.training, **options, **quiet}, self.presets)
        return run_dir


def _quietly(job: str, overrides: Mapping[str, Any], presets: tuple[str, ...] = ()) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        run_bundle(job, overrides, presets)


def table(trials: Trials, seeds: Sequence[int], resamples: int = 2000) -> tuple[str, dict[str, Any]]:
    """The markdown table, and the same as JSON can hold it."""
    plain = [trials.train("float32", seed) for seed in seeds]
    first = [FPTPredictions.load(run / "test_predictions.json") for run in plain]
    lines = [
        "| cache | MB/image | kept tokens identical, by block | asked: test AUC (difference [95 %]) | largest change of a probability | trained: test AUC (difference [95 %]) | by seed |",
        "|---|---|---|---|---|---|---|",
    ]
    found: dict[str, Any] = {"seeds": list(seeds), "images": len(first[0]), "caches": {}}
    for name in CACHES:
        store = trials.cache(name)
        shares = token_shares(store, trials.cache("float32"))
        asked = [ask(run, trials.images, store) for run in plain]
        trained = [FPTPredictions.load(trials.train(name, seed) / "test_predictions.json") for seed in seeds]
        differences = [paired_difference(first, others, resamples) for others in (asked, trained)]
        change = max(
            float(np.abs(a.probabilities() - b.probabilities()).max()) for a, b in zip(asked, first, strict=True)
        )
        aucs = [paired_difference([one], [one], 100).first for one in trained]
        by_block = ", ".join(f"{block}: {100 * share:.2f} %" for block, share in shares.items())
        size = f"{store.layout.num_bytes / 1e6:.2f}"
        seedwise = ", ".join(f"{auc:.3f}" for auc in aucs)
        lines.append(
            f"| {name} | {size} | {by_block} | {differences[0]} | {change:.1e} | {differences[1]} | {seedwise} |"
        )
        found["caches"][name] = {
            "identical": {str(block): share for block, share in shares.items()},
            "asked": dataclasses.asdict(differences[0]),
            "trained": dataclasses.asdict(differences[1]),
            "largest_change": change,
            "auc_by_seed": aucs,
        }
    return "\n".join(lines), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--backbone_weights", default="timm")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max_epochs", type=int, default=20)
    parser.add_argument("--members", type=int, default=1, help="of the network, all with a side network")
    parser.add_argument("--config", nargs="*", default=["stable"], help="presets of the trainings")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    common = {name: getattr(options, name) for name in ("backbone", "backbone_weights", "image_size")}
    training = {"max_epochs": options.max_epochs, "network_config#members": options.members}
    training["network_config#linear_members"] = 0
    trials = Trials(options.images, options.work, common, training, options.config)
    text, found = table(trials, options.seeds)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
