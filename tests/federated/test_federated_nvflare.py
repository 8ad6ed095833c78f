"""The real thing: NVFlare's simulator, its own FedAvg, every site a process of its own."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from federated_toys import CLASSES, Federated, num_bytes
from mlflow import MlflowClient
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

pytest.importorskip("nvflare", reason="needs NVFlare: pip install monai-fpt[fl]")

from monai_fpt.bundle import run_bundle
from monai_fpt.data import build_data_list
from monai_fpt.federated import FPTFederation, fpt_federated_job, fpt_simulate_federation, fpt_split_sites
from monai_fpt.networks import frozen_backbone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
WEIGHTS = "vit_tiny_patch16_224_in1k_fp16.safetensors"


def statuses(run_dir: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{run_dir / 'mlflow.db'}")
    return [run.info.status for run in client.search_runs([e.experiment_id for e in client.search_experiments()])]


def test_nvflare_reaches_what_fedavg_by_hand_reaches(federated: Federated, site_images: Path, tmp_path: Path) -> None:
    cache = str(federated.runs[0].parent / "features")
    own = {"dataset_dir": str(site_images), "cache_dir": cache, "device": "cpu", "system_metrics": False}
    sites = {f"site-{n}": {**own, "run_dir": str(tmp_path / f"run_{n}"), "track": n == 0} for n in range(3)}

    common = fpt_simulate_federation(federated.plan, sites, tmp_path / "workspace")

    weights = torch.load(common, weights_only=True)["model"]
    assert set(weights) == set(federated.weights)
    for name, value in federated.weights.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6, msg=name)
    for number in range(3):
        kept = torch.load(tmp_path / f"run_{number}" / "model.pt", weights_only=True)
        assert all(torch.equal(kept[name], value) for name, value in weights.items())
    assert statuses(tmp_path / "run_0") == ["FINISHED"]
    assert not (tmp_path / "run_1" / "mlflow.db").exists()


def test_a_site_with_another_backbone_stops_the_federation_before_it_sends(
    federated: Federated, site_images: Path, tmp_path: Path
) -> None:
    trunk = frozen_backbone(FPTFederation.load(federated.plan).card.network).vit.state_dict()
    save_file({name: (value + 0.001).contiguous() for name, value in trunk.items()}, tmp_path / "other.safetensors")
    own = {"dataset_dir": str(site_images), "device": "cpu", "track": False}
    sites = {f"site-{n}": {**own, "run_dir": str(tmp_path / f"run_{n}")} for n in range(2)}
    sites["site-1"]["backbone_weights"] = str(tmp_path / "other.safetensors")

    with pytest.raises(RuntimeError, match="failed"):
        fpt_simulate_federation(federated.plan, sites, tmp_path / "workspace")

    assert not list(tmp_path.rglob("model.pt"))


def test_a_job_holds_the_plan_and_no_folder_of_the_machine_it_was_made_on(federated: Federated, tmp_path: Path) -> None:
    fpt_federated_job(federated.plan, 3).export(str(tmp_path))

    files = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    names = [path.name for path in files]
    assert names.count("initial.pt") >= 1
    assert names.count("federation.json") >= 1
    told = "".join(path.read_text(encoding="utf-8") for path in files.values() if path.suffix in (".json", ".py"))
    assert str(federated.plan) not in told
    assert str(Path.home()) not in told


def test_three_hospitals_train_on_real_images(tmp_path: Path) -> None:
    data, weights = (os.environ.get(f"MONAI_FPT_TEST_{name}") for name in ("DATA", "WEIGHTS"))
    if not data or not weights:
        pytest.skip("needs real images and weights: set MONAI_FPT_TEST_DATA and MONAI_FPT_TEST_WEIGHTS")
    images, backbone = Path(data, "derm_benign_malignant"), str(Path(weights, WEIGHTS))
    settings: dict[str, Any] = {"backbone": "vit_tiny_patch16_224", "image_size": 224, "learning_rate": 0.005}
    plan = FPTFederation.plan(CLASSES, 2, 2, {**settings, "backbone_weights": backbone}).save(tmp_path / "plan")
    sites: dict[str, dict[str, Any]] = {}
    for number, part in enumerate(fpt_split_sites(build_data_list(str(images)), 3)):
        part.save(tmp_path / f"site-{number}.json")
        own = {"dataset_dir": str(images), "data_list": str(tmp_path / f"site-{number}.json")}
        sites[f"site-{number}"] = {**own, "run_dir": str(tmp_path / f"run_{number}"), "backbone_weights": backbone}

    common = fpt_simulate_federation(plan, sites, tmp_path / "workspace")

    assert num_bytes(torch.load(common, weights_only=True)["model"]) < 1_000_000
    for number in range(3):
        assert statuses(tmp_path / f"run_{number}") == ["FINISHED"]
    run = str(tmp_path / "run_0")
    own = {"dataset_dir": str(images), "track": False, "report": False}
    run_bundle("evaluate", {**own, "run_dir": run, "data_list": str(images / "labels.csv")})
    with open(tmp_path / "run_0" / "evaluation" / "test_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 111
    auc = roc_auc_score([row["label"] == "malignant" for row in rows], [float(row["malignant"]) for row in rows])
    assert auc > 0.5
