"""Sites of a federation: only the adapter travels, and three sites with equal images learn what one of them would."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from federated_toys import CLASSES, ROUNDS, SETTINGS, Federated, copied, num_bytes
from mlflow import MlflowClient
from monai.fl.client import MonaiAlgo
from monai.fl.utils.exchange_object import ExchangeObject

from monai_fpt.bundle import fpt_bundle_root, run_bundle
from monai_fpt.data import FPTDataList
from monai_fpt.federated import FPTFederation, FPTMonaiAlgo, fpt_split_sites
from monai_fpt.networks import BackboneMismatchError, FPTClassifier

FILES = ["configs/train.json", "configs/federated.json"]


@pytest.fixture(scope="module")
def site(federated: Federated, site_images: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTMonaiAlgo:
    """One more site, which has trained nothing yet."""
    root = tmp_path_factory.mktemp("one_site")
    own = {"dataset_dir": str(site_images), "run_dir": str(root / "run"), "device": "cpu", "track": False}
    algo = FPTMonaiAlgo(federated.plan, own)
    algo.initialize({})
    return algo


def test_only_the_adapter_travels_and_the_backbone_never(federated: Federated) -> None:
    network = FPTClassifier(FPTFederation.load(federated.plan).card.network)
    learnable = {name for name, value in network.named_parameters() if value.requires_grad}
    frozen = num_bytes(dict(network.backbone.named_parameters()))

    for down, up in zip(federated.sent, federated.received, strict=True):
        assert set(down) == learnable | {"backbone_id"}
        assert all(set(one) == learnable for one in up)
        assert num_bytes(up[0]) == 4 * network.num_parameters()[0]
        assert num_bytes(down) == num_bytes(up[0]) + 128
        assert num_bytes(down) < frozen / 10


def test_what_travels_keeps_its_type_over_the_rounds(federated: Federated) -> None:
    for down in (*federated.sent, federated.weights):
        assert {value.dtype for name, value in down.items() if name != "backbone_id"} == {torch.float32}
        assert torch.equal(down["backbone_id"], federated.sent[0]["backbone_id"])


def test_three_sites_with_equal_images_learn_what_one_ordinary_training_learns(
    federated: Federated, pooled: Path
) -> None:
    ordinary = torch.load(pooled / "last.pt", weights_only=True)["network"]
    begun = federated.sent[0]

    assert set(ordinary) == set(federated.weights)
    for name, value in ordinary.items():
        ours = federated.weights[name]
        if name.endswith("attn.qkv.bias"):
            # that of keys changes no answer: its gradient is rounding, which Adam makes steps of
            value, ours = (torch.cat([q, v]) for q, _, v in (bias.chunk(3) for bias in (value, ours)))
        torch.testing.assert_close(ours, value, rtol=1e-4, atol=1e-6, msg=name)
    assert any((value - begun[name]).abs().max() > 1e-3 for name, value in ordinary.items() if name != "backbone_id")


def test_the_learning_rate_falls_once_over_all_rounds(federated: Federated) -> None:
    assert federated.rates == pytest.approx([SETTINGS["learning_rate"] / 2, 0.0], abs=1e-9)


def test_every_site_ends_with_the_common_model_which_evaluates_as_any_other(
    federated: Federated, site_images: Path
) -> None:
    for run_dir in federated.runs:
        kept = torch.load(run_dir / "model.pt", weights_only=True)
        assert all(torch.equal(kept[name], value) for name, value in federated.weights.items())
        assert not (run_dir / "last.pt").exists()

    where = {"run_dir": str(federated.runs[1]), "cache_dir": str(federated.runs[1].parent / "features")}
    own = {"dataset_dir": str(site_images), "device": "cpu", "track": False, "report": False}
    run_bundle("evaluate", {**where, **own})

    with open(federated.runs[1] / "evaluation" / "test_predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8


def test_a_site_s_run_is_finished_and_tells_local_and_common_scores(federated: Federated) -> None:
    client = MlflowClient(f"sqlite:///{federated.runs[0] / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])

    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("site-0_")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val_auc")] == [1, 2]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "global_auc")] == [0, 1, 2]
    executed = json.loads((federated.runs[0] / "config.json").read_text())
    assert executed["max_epochs"] == ROUNDS


def test_features_are_extracted_once_before_the_first_round(federated: Federated) -> None:
    parts = list((federated.runs[0].parent / "features" / "parts").iterdir())

    assert len({part.name.split(".")[0] for part in parts if part.stat().st_size}) == 1  # one writer of the three sites


def test_weights_of_another_backbone_are_refused(federated: Federated, site: FPTMonaiAlgo) -> None:
    config = FPTFederation.load(federated.plan).card.network
    foreign = copied(federated.sent[0])
    foreign["backbone_id"] = FPTClassifier({**config.to_dict(), "backbone_kwargs": {"depth": 3}}).backbone_id.clone()

    for action in (site.train, site.evaluate):
        with pytest.raises(BackboneMismatchError):
            action(ExchangeObject(weights=copied(foreign)))
    with pytest.raises(BackboneMismatchError):
        site.keep(foreign)


@pytest.mark.parametrize("kind", ["missing", "unknown", "shape", "identity"])
def test_weights_that_are_not_whole_are_refused_instead_of_filled_up(
    federated: Federated, site: FPTMonaiAlgo, kind: str
) -> None:
    weights: dict[str, Any] = copied(federated.sent[0])
    if kind == "missing":
        del weights["side.norm.weight"]
    elif kind == "unknown":
        weights["side.blocks.9.norm1.weight"] = torch.ones(3)
    elif kind == "identity":
        del weights["backbone_id"]
    else:
        weights["side.head.weight"] = weights["side.head.weight"].T  # as many numbers, so MONAI would reshape them

    with pytest.raises(ValueError, match="not those of this network"):
        site.train(ExchangeObject(weights=weights))


def test_monai_s_own_algo_trains_whole_weights_whose_mean_is_not_exact(site_images: Path, tmp_path: Path) -> None:
    own = {"dataset_dir": str(site_images), "run_dir": str(tmp_path / "run"), "device": "cpu", "track": False}
    algo = MonaiAlgo(
        str(fpt_bundle_root()),
        send_weight_diff=False,
        config_train_filename=FILES,
        train_kwargs={**SETTINGS, **own, "max_epochs": 2},
        config_evaluate_filename=FILES,
        eval_kwargs={**SETTINGS, **own},
    )
    algo.initialize({})
    weights: dict[str, Any] = copied(algo.trainer.network.state_dict())
    own_id = weights["backbone_id"].clone()

    for _ in range(2):
        algo.train(ExchangeObject(weights=weights))
        sent = algo.get_weights().weights
        summed = {name: sum(value.numpy() * n for n in (1.1, 2.3, 1.7)) for name, value in sent.items()}
        weights = {name: torch.as_tensor(value * (1 / 5.1)) for name, value in summed.items()}
    scores = algo.evaluate(ExchangeObject(weights=dict(weights))).metrics

    assert not torch.equal(weights["backbone_id"], own_id.double())  # the mean is off by rounding
    assert torch.equal(algo.trainer.network.backbone_id, own_id)
    assert 0 <= scores["auc"] <= 1


def test_images_are_dealt_by_patient_and_every_one_once() -> None:
    def section(name: str) -> list[dict[str, Any]]:
        keys = [f"{name}/{number}.png" for number in range(24)]
        return [{"image": k, "key": k, "label": i % 2, "group": f"patient {i // 2}"} for i, k in enumerate(keys)]

    data = FPTDataList(CLASSES, section("training"), section("validation"), section("test"))

    sites = fpt_split_sites(data, 3)

    keys = [item["key"] for part in sites for item in part.training]
    assert sorted(keys) == sorted(item["key"] for item in data.training)
    homes: dict[str, set[int]] = {}
    for number, part in enumerate(sites):
        for item in (*part.training, *part.validation, *part.test):
            homes.setdefault(item["group"], set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    with pytest.raises(ValueError, match="no training image"):
        fpt_split_sites(data, 100)
