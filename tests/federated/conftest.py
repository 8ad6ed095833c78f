"""One federation of three sites with equal images, and one ordinary training of the same, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from federated_toys import CLASSES, ROUNDS, SETTINGS, Federated, averaged, copied, draw_site


@pytest.fixture(scope="session")
def site_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_site(tmp_path_factory.mktemp("site_images"))


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from monai_fpt.federated import FPTFederation

    return FPTFederation.plan(CLASSES, ROUNDS, 1, SETTINGS).save(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="session")
def federated(plan: Path, site_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Federated:
    from monai.fl.utils.constants import ExtraItems
    from monai.fl.utils.exchange_object import ExchangeObject

    from monai_fpt.federated import FPTFederation, FPTMonaiAlgo

    root = tmp_path_factory.mktemp("federated")
    algos = []
    for number in range(3):
        site: dict[str, Any] = {"dataset_dir": str(site_images), "run_dir": str(root / f"run_{number}")}
        site |= {"device": "cpu", "cache_dir": str(root / "features"), "track": number == 0, "system_metrics": False}
        algos.append(FPTMonaiAlgo(plan, site))
        algos[-1].initialize({ExtraItems.CLIENT_NAME: f"site-{number}"})
    weights = copied(FPTFederation.load(plan).weights)
    sent, received, rates = [], [], []
    for _ in range(ROUNDS):
        sent.append(copied(weights))
        came = []
        for algo in algos:
            algo.evaluate(ExchangeObject(weights=copied(weights)))
            algo.train(ExchangeObject(weights=copied(weights)))
            came.append(algo.get_weights())
        received.append([copied(one.weights) for one in came])
        rates.append(algos[0].trainer.optimizer.param_groups[0]["lr"])
        steps = [one.statistics["num_executed_iterations"] for one in came]
        weights = averaged(weights, received[-1], steps)
    for algo in algos:
        algo.evaluate(ExchangeObject(weights=copied(weights)))
        algo.keep(weights)
        algo.finalize()
    return Federated(plan, [root / f"run_{n}" for n in range(3)], sent, received, rates, weights)


@pytest.fixture(scope="session")
def pooled(site_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of an ordinary training, as long as all rounds together."""
    from monai_fpt.bundle import run_bundle

    run_dir = tmp_path_factory.mktemp("pooled") / "run"
    own = {"dataset_dir": str(site_images), "run_dir": str(run_dir), "device": "cpu", "track": False, "report": False}
    run_bundle("train", {**SETTINGS, **own, "max_epochs": ROUNDS})
    return run_dir
