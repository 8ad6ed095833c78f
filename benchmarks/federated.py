"""Federated against pooled and single-site training, for the table of docs/federated.md.

Every arm is a federation of the same rounds, epochs, settings and seeds: of all sites, of one site with all images (which is an ordinary
training, see tests/federated), and of every site by itself. The test images are the same for all arms and used once, for the model after the
last round. FedAvg is done here by hand; tests/federated/test_federated_nvflare.py holds NVFlare against it.

    python benchmarks/federated.py DATASET_DIR BACKBONE_WEIGHTS --output results.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import monai_fpt  # noqa: F401  # repairs torchvision before MONAI's first import


def federate(plan: Path, lists: Sequence[Path], own: Mapping[str, Any], folder: Path) -> tuple[Any, int, int]:
    """Train; give the first site's algo with the common model in it, and the bytes a site gets and sends per round."""
    import torch
    from monai.fl.utils.exchange_object import ExchangeObject

    from monai_fpt.federated import FPTFederation, FPTMonaiAlgo

    federation = FPTFederation.load(plan)
    algos = []
    for number, path in enumerate(lists):
        site = {**own, "data_list": str(path), "run_dir": str(folder / f"run_{number}"), "track": False}
        algos.append(FPTMonaiAlgo(plan, site))
        algos[-1].initialize({})
    weights = {name: value.clone() for name, value in federation.weights.items()}
    down = up = 0
    for _ in range(federation.rounds):
        came = []
        for algo in algos:
            algo.train(ExchangeObject(weights={name: value.clone() for name, value in weights.items()}))
            came.append(algo.get_weights())
        steps = [one.statistics["num_executed_iterations"] for one in came]
        down, up = (sum(v.numel() * v.element_size() for v in one.values()) for one in (weights, came[0].weights))
        for name in came[0].weights:
            changes = [one.weights[name] * n for one, n in zip(came, steps, strict=True)]
            weights[name] = weights[name] + torch.stack(changes).sum(0) / sum(steps)
    algos[0].evaluate(ExchangeObject(weights=weights))
    return algos[0], down, up


def test_scores(algo: Any, items: list[dict[str, Any]]) -> tuple[list[float], list[int]]:
    """Probability of the second class and label of every test image."""
    import torch

    from monai_fpt.features import FeatureDataset

    parser = algo.eval_workflow.parser
    store, transform = (parser.get_parsed_content(name) for name in ("store", "validate#preprocessing"))
    network = algo.evaluator.network.eval()
    scores: list[float] = []
    labels: list[int] = []
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(FeatureDataset(items, store, transform=transform), batch_size=16):
            scores += network(torch.as_tensor(batch["image"]), batch["features"]).softmax(1)[:, 1].tolist()
            labels += batch["label"].tolist()
    return scores, labels


def interval(
    scores: np.ndarray, labels: np.ndarray, draws: int = 2000, minus: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Mean AUC over runs (R, N) and its 95% interval by bootstrap over the images; ``minus`` (S, N): that of the difference to the mean of those."""
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)

    def mean_of(runs: np.ndarray, chosen: np.ndarray) -> float:
        return float(np.mean([roc_auc_score(labels[chosen], run[chosen]) for run in runs]))

    def mean(chosen: np.ndarray) -> float:
        return mean_of(scores, chosen) - (0.0 if minus is None else mean_of(minus, chosen))

    samples = (random.integers(0, len(labels), len(labels)) for _ in range(draws))
    drawn = [mean(chosen) for chosen in samples if len(set(labels[chosen])) == 2]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return mean(np.arange(len(labels))), float(low), float(high)


def main() -> None:
    """Run all arms and seeds, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir")
    parser.add_argument("backbone_weights")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--classes", nargs=2, default=["benign", "malignant"])
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--local_epochs", type=int, default=4)
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--learning_rate", type=float, default=0.005)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", type=json.loads, default={}, help="further ids of the configuration, as JSON")
    parser.add_argument("--cache_dir", default=None)
    parser.add_argument("--output", default="federated.json")
    given = parser.parse_args()

    from monai_fpt.data import build_data_list
    from monai_fpt.federated import FPTFederation, fpt_split_sites

    data = build_data_list(given.dataset_dir)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lists = []
        for number, part in enumerate((data, *fpt_split_sites(data, given.sites))):
            lists.append(folder / f"list_{number}.json")
            part.save(lists[-1])
        arms = {"federated": lists[1:], "pooled": lists[:1]}
        arms |= {f"site {number}": [path] for number, path in enumerate(lists[1:], 1)}
        own = {"dataset_dir": given.dataset_dir, "backbone_weights": given.backbone_weights}
        own["cache_dir"] = given.cache_dir or str(folder / "features")
        results: dict[str, Any] = {}
        for seed in range(given.seeds):
            settings = {"backbone": given.backbone, "backbone_weights": given.backbone_weights, "seed": seed}
            settings |= {"image_size": given.image_size, "learning_rate": given.learning_rate, **given.settings}
            plan = FPTFederation.plan(given.classes, given.rounds, given.local_epochs, settings).save(
                folder / f"{seed}"
            )
            for arm, chosen in arms.items():
                algo, down, up = federate(plan, chosen, own, folder / f"{arm}_{seed}")
                scores, labels = test_scores(algo, data.test)
                found = results.setdefault(arm, {"scores": [], "labels": labels, "down": down, "up": up})
                found["scores"].append(scores)
                Path(given.output).write_text(json.dumps(results), encoding="utf-8")
    for arm, found in results.items():
        mean, low, high = interval(np.array(found["scores"]), np.array(found["labels"]))
        each = ", ".join(f"{interval(np.array([run]), np.array(found['labels']), 1)[0]:.3f}" for run in found["scores"])
        print(f"{arm}: AUC {mean:.3f} ({low:.3f} to {high:.3f}); seeds {each}; {found['down']} down, {found['up']} up")
    alone = [run for arm, found in results.items() if arm.startswith("site ") for run in found["scores"]]
    labels = np.array(results["federated"]["labels"])
    for name, others in (("pooled", results["pooled"]["scores"]), ("the mean of the sites", alone)):
        value, low, high = interval(np.array(results["federated"]["scores"]), labels, minus=np.array(others))
        print(f"federated minus {name}: {value:+.3f} ({low:+.3f} to {high:+.3f}), paired over the test images")


if __name__ == "__main__":
    main()
