"""How many labels a reader saves by active learning: a simulated reader on a labelled data set.

    python -m benchmarks.learning_curve --run RUN --cache CACHE [--learner probe|adapter] [--seeds N] [--labels 20 40 80 140 220]
        [--strategies random margin ...] [--figure FILE] [--save FILE]

RUN is the folder of any finished training of the bundle on the data set (its ``data_list.json`` has the true labels, its
``model.json`` the settings; its weights are not used), CACHE the features it left. For every seed a fifth of the images is
held out for testing, the others are the pool. The reader labels the first images; then, round by round, the learner learns
all labels, the strategy chooses images with the app's functions, and the reader tells their true class. Nothing is published
or refused, so that strategies and not gates are compared. Learners:

- probe: ridge regression on the pooled values of all tapped blocks, in closed form. It has no randomness of its own and takes
  milliseconds, so that many seeds tell strategies apart;
- adapter: what the app trains, with the app's settings: anew in the first round, then on from the present model.

Strategies:

- random: images at random;
- margin (entropy orders alike where there are two classes) and bald (adapter only): k-centre for the first round, then
  ``most_informative`` with its diversity term;
- margin-alone: random for the first round, then margin without the diversity term;
- k-centre: k-centre greedy in all rounds.

Prints a table: AUC of the held-out fifth, mean and standard deviation over seeds, the difference from random within a seed
with its standard error, and how many labels random needs, on its mean curve, for the AUC that the others have.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from monai_fpt.features import FeatureStore
from monai_fpt.metrics import fpt_auc
from monai_fpt.monailabel.active import (
    bald_uncertainty,
    dropout_passes,
    k_centre_greedy,
    margin_uncertainty,
    most_informative,
)
from monai_fpt.monailabel.features import StudyFeatures
from monai_fpt.monailabel.training_fit import (
    FPTFitOptions,
    LabelledFeatures,
    fit_adapter,
    predict_labelled,
    reset_adapter,
)
from monai_fpt.networks import FPTClassifier
from monai_fpt.registry import FPTPredictor

PASSES = 10
RIDGE = 0.3


class AdapterLearner:
    """What the app trains.

    Args:
        network: whose adapter is trained.
        store: of the features.
        items: all images with their true labels.
        pool, test: rows of ``items``.
        options: of the trainings.
    """

    def __init__(
        self,
        network: FPTClassifier,
        store: FeatureStore,
        items: Sequence[Mapping[str, Any]],
        pool: Sequence[int],
        test: Sequence[int],
        options: FPTFitOptions,
    ) -> None:
        self.network, self.store, self.options = network, store, options
        self.items = [items[row] for row in pool]
        self.pool = LabelledFeatures.read(self.items, store)
        self.test = LabelledFeatures.read([items[row] for row in test], store)
        reset_adapter(network, options.seed)

    def learn(self, labelled: Sequence[int]) -> float:
        """Train on these rows of the pool; the AUC of the test images."""
        data = LabelledFeatures.read([self.items[row] for row in labelled], self.store)
        fit_adapter(self.network, data, self.options)
        return fpt_auc(predict_labelled(self.network, self.test).softmax(1), self.test.labels, task="multiclass")

    def uncertainty(self, strategy: str) -> np.ndarray:
        """Of every image of the pool."""
        if strategy != "bald":
            return margin_uncertainty(predict_labelled(self.network, self.pool).softmax(1).numpy())
        generator = torch.Generator().manual_seed(self.options.seed)
        parts = []
        with torch.no_grad():
            for start in range(0, len(self.pool), 32):
                rows = list(range(start, min(start + 32, len(self.pool))))
                images = self.pool.side_images(rows, self.network.side_size)
                parts.append(dropout_passes(self.network, images, self.pool.batch(rows), PASSES, generator)[1])
        return bald_uncertainty(torch.cat(parts, dim=1).softmax(-1).numpy())


class ProbeLearner:
    """Ridge regression of -1 and 1 on standardised vectors of two classes.

    Args:
        gram: (N, N) products of all images' vectors.
        labels: (N,) 0 and 1.
        pool, test: rows.
    """

    def __init__(self, gram: np.ndarray, labels: np.ndarray, pool: np.ndarray, test: np.ndarray) -> None:
        self.gram, self.labels, self.pool, self.test = gram, labels, pool, test
        self._answers = np.zeros(len(labels))

    def learn(self, labelled: Sequence[int]) -> float:
        """Learn these rows of the pool; the AUC of the test images."""
        rows = self.pool[list(labelled)]
        wanted = 2.0 * self.labels[rows] - 1
        inner = self.gram[np.ix_(rows, rows)] + RIDGE * np.eye(len(rows))
        self._answers = self.gram[:, rows] @ np.linalg.solve(inner, wanted - wanted.mean()) + wanted.mean()
        return float(roc_auc_score(self.labels[self.test], self._answers[self.test]))

    def uncertainty(self, strategy: str) -> np.ndarray:
        """Of every image of the pool."""
        if strategy == "bald":
            raise SystemExit("The probe has no dropout; ask for bald with --learner adapter.")
        malignant = 1 / (1 + np.exp(-2 * self._answers[self.pool]))
        return margin_uncertainty(np.stack([1 - malignant, malignant], axis=1))


def next_rows(
    strategy: str,
    learner: AdapterLearner | ProbeLearner,
    points: np.ndarray,
    taken: Sequence[int],
    count: int,
    seed: int,
) -> list[int]:
    """Which images of the pool the reader labels next."""
    if strategy == "random" or (strategy == "margin-alone" and not taken):
        free = np.setdiff1d(np.arange(len(points)), taken)
        return np.random.default_rng([seed, len(taken)]).permutation(free)[:count].tolist()
    if strategy == "k-centre" or not taken:
        return k_centre_greedy(points, taken, count)
    diversity = {"diversity": 0.0} if strategy == "margin-alone" else {}
    return most_informative(learner.uncertainty(strategy), points, taken, count, **diversity)


def labels_of_random(counts: Sequence[int], curve: Sequence[float], auc: float) -> str:
    """How many labels random needs for an AUC, by straight lines between its measured points."""
    highest = np.maximum.accumulate(curve)
    if auc > highest[-1]:
        return f"> {counts[-1]}"
    if auc <= highest[0]:
        return f"<= {counts[0]}"
    return f"{np.interp(auc, highest, counts):.0f}"


def report(results: Mapping[str, Mapping[str, list[float]]], counts: Sequence[int]) -> str:
    """A markdown table."""
    lines = ["| strategy | " + " | ".join(f"{n} labels" for n in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    seeds = [seed for seed in results["random"] if all(seed in runs for runs in results.values())]
    curves = {name: np.array([runs[seed] for seed in seeds]) for name, runs in results.items()}
    for name, curve in curves.items():
        cells = [
            f"{m:.3f} ± {s:.3f}"
            for m, s in zip(curve.mean(0), curve.std(0, ddof=1 if len(seeds) > 1 else 0), strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, curve in curves.items():
        if name != "random":
            difference = curve - curves["random"]
            error = difference.std(0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.full(len(counts), np.nan)
            cells = [f"{m:+.3f} ± {e:.3f}" for m, e in zip(difference.mean(0), error, strict=True)]
            lines.append(f"| {name} minus random, ± standard error | " + " | ".join(cells) + " |")
    for name, curve in curves.items():
        if name != "random":
            cells = [labels_of_random(counts, curves["random"].mean(0), auc) for auc in curve.mean(0)]
            lines.append(f"| labels random needs for the AUC of {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: Mapping[str, Mapping[str, list[float]]], counts: Sequence[int], path: Path) -> None:
    """Mean curves with their standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    seeds = [seed for seed in results["random"] if all(seed in runs for runs in results.values())]
    for name, runs in results.items():
        curve = np.array([runs[seed] for seed in seeds])
        error = curve.std(0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else None
        axes.errorbar(counts, curve.mean(0), error, marker="o", markersize=3, capsize=2, linewidth=1.2, label=name)
    axes.set(xlabel="labels", ylabel="AUC of the held-out images")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def probe_gram(features: StudyFeatures, items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(N, N) products of the values of all tapped blocks, averaged over the kept tokens and standardised, over their width."""
    vectors = torch.stack([features.get([item["key"]])[1][0, :, 1].float().mean(dim=2).flatten() for item in items])
    standardised = ((vectors - vectors.mean(0)) / vectors.std(0)).numpy()
    return standardised @ standardised.T / standardised.shape[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--learner", choices=("probe", "adapter"), default="adapter")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 40, 80, 140, 220])
    parser.add_argument("--strategies", nargs="+", default=["random", "margin"])
    parser.add_argument(
        "--steps", type=int, default=FPTFitOptions().min_steps, help="least number of steps of a training"
    )
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--save", type=Path, help="JSON of all numbers, written after each seed")
    chosen = parser.parse_args()
    torch.set_num_threads(1)

    predictor = FPTPredictor.from_folder(chosen.run)
    features = StudyFeatures(predictor, chosen.cache)
    listed = json.loads((chosen.run / "data_list.json").read_text(encoding="utf-8"))
    items = sorted((i for s in ("training", "validation", "test") for i in listed[s]), key=lambda item: item["key"])
    labels = np.array([item["label"] for item in items])
    points = features.tokens([item["key"] for item in items]).numpy()
    gram = probe_gram(features, items) if chosen.learner == "probe" else None
    results: dict[str, dict[str, list[float]]] = {name: {} for name in chosen.strategies}
    began = time.process_time()
    for seed in range(chosen.seeds):
        splits = StratifiedKFold(5, shuffle=True, random_state=seed // 5).split(labels, labels)
        pool, test = list(splits)[seed % 5]
        for strategy in chosen.strategies:
            learner: AdapterLearner | ProbeLearner
            if gram is not None:
                learner = ProbeLearner(gram, labels, pool, test)
            else:
                options = FPTFitOptions(min_steps=chosen.steps, seed=seed)
                learner = AdapterLearner(predictor.network, features.store, items, pool, test, options)
            taken: list[int] = []
            curve = []
            for count in chosen.labels:
                taken += next_rows(strategy, learner, points[pool], taken, count - len(taken), seed)
                curve.append(learner.learn(taken))
            results[strategy][str(seed)] = curve
            print(
                f"seed {seed} {strategy}: {np.round(curve, 3).tolist()}  ({time.process_time() - began:.0f} CPU-s)",
                flush=True,
            )
        if chosen.save:
            chosen.save.write_text(
                json.dumps({"labels": chosen.labels, "results": results}, indent=1), encoding="utf-8"
            )
        if chosen.figure:
            draw(results, chosen.labels, chosen.figure)
    print(report(results, chosen.labels))
    print(f"{time.process_time() - began:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
