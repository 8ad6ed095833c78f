"""Several processes train one model on one cache, as ``torchrun`` and ``multi_gpu_train.json`` do it, here with gloo on the CPU."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.features import FeatureStore


@pytest.mark.slow
def test_two_processes_share_cache_model_and_one_tracked_run(images: Path, tmp_path: Path) -> None:
    configs = fpt_bundle_root() / "configs"
    run_dir = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle"),
        *("run", "training", "--config_file", f"['{configs / 'train.json'}','{configs / 'multi_gpu_train.json'}']"),
        *("--dataset_dir", str(images), "--run_dir", str(run_dir), "--backbone", "vit_tiny_patch16_224"),
        *("--backbone_weights", "random", "--image_size", "64", "--max_epochs", "2", "--batch_size", "4"),
        *("--network_config#side_size", "32", "--network_config#backbone_kwargs", "{'depth': 2}"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    store = FeatureStore(run_dir / "features")
    assert len(store) == 40 and store.verify() == []
    assert len(list((run_dir / "features" / "parts").glob("*.bin"))) == 2
    assert torch.load(run_dir / "model.pt", weights_only=True)["side.head.bias"].shape == (2,)
    with open(run_dir / "test_predictions.csv", newline="", encoding="utf-8") as file:
        assert sorted(row["image"] for row in csv.DictReader(file)) == sorted(
            f"test/{c}/{i}.png" for c in ("benign", "malignant") for i in range(6)
        )
    client = MlflowClient(f"sqlite:///{run_dir / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED"
