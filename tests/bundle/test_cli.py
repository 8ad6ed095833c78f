"""The short commands say the same as the bundle and the API, and speak in sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bundle_toys import tiny_overrides
from safetensors.torch import load_file, save_file

from monai_fpt.cli.options import overrides_of
from monai_fpt.features import FPTModelCard
from monai_fpt.importing import import_authors_checkpoint
from monai_fpt.networks import FPTClassifier

GOLDEN = Path(__file__).parents[1] / "data_files" / "goldens" / "fpt_plus_global.safetensors"


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai_fpt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd, check=False)


def as_options(overrides: dict[str, object]) -> list[str]:
    return [
        word
        for name, value in overrides.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]


def test_options_become_typed_values() -> None:
    words = [
        "--max-epochs",
        "3",
        "--mean=[0.5, 0.5, 0.5]",
        "--backbone_weights",
        "null",
        "--amp",
        "true",
        "--run_dir",
        "a b",
    ]
    expected = {"max_epochs": 3, "mean": [0.5, 0.5, 0.5], "backbone_weights": None, "amp": True, "run_dir": "a b"}
    assert overrides_of(words) == expected


def test_a_missing_folder_is_one_sentence_and_exit_code_one(tmp_path: Path) -> None:
    done = run("train", "--dataset_dir", str(tmp_path / "nothing"), "--run_dir", str(tmp_path / "run"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_names_the_known_ones() -> None:
    done = run("train", "--learning_rat", "1")
    assert done.returncode == 1
    assert "learning_rate" in done.stderr


def test_verify_says_whole_or_names_the_damage(trained: Path, tmp_path: Path) -> None:
    import shutil

    cache = tmp_path / "cache"
    shutil.copytree(trained / "features", cache)
    assert run("cache", "verify", str(cache)).returncode == 0
    (part,) = (cache / "parts").glob("*.bin")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    done = run("cache", "verify", str(cache))
    assert done.returncode == 1
    assert "does not match its checksum" in done.stdout


def test_a_checkpoint_of_the_authors_becomes_a_model(tmp_path: Path) -> None:
    tensors = load_file(GOLDEN)
    case = json.loads(GOLDEN.with_suffix(".json").read_text(encoding="utf-8"))
    from benchmarks.parity import case_config, under

    save_file(under(tensors, "frozen/"), tmp_path / "backbone.safetensors")
    save_file(under(tensors, "model/"), tmp_path / "theirs.safetensors")
    config = case_config(case).to_dict() | {"backbone_weights": str(tmp_path / "backbone.safetensors")}
    (tmp_path / "network.json").write_text(json.dumps(config), encoding="utf-8")
    import_authors_checkpoint(
        tmp_path / "theirs.safetensors", tmp_path / "run", tmp_path / "network.json", ["a", "b", "c"]
    )

    card = FPTModelCard.load(tmp_path / "run" / "model.json")
    model = FPTClassifier(card.network).eval()
    model.load_state_dict(torch.load(tmp_path / "run" / "model.pt", weights_only=True))
    with torch.no_grad():
        features = model.backbone(tensors["input/lpm"]).features
        assert torch.allclose(model(tensors["input/side"], features), tensors["f32/logits"], atol=1e-5)
    with pytest.raises(FileExistsError, match="holds a model already"):
        import_authors_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "run", tmp_path / "network.json")


@pytest.mark.slow
def test_ctrl_c_in_training_ends_killed_and_resume_finishes(images: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    overrides = tiny_overrides(images, tmp_path / "run") | {"max_epochs": 60}
    command = [sys.executable, "-m", "monai_fpt", "train", *as_options(overrides)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)  # CPython ends by the signal once it has passed an eval
    assert "interrupted" in said and "Traceback" not in said
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (first,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert first.info.status == "KILLED"

    epoch = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert epoch
    done = run("train", *as_options(overrides), "--resume", "true")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "test_predictions.csv").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="mounting a small disk needs root")
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(images: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let the test mount a tmpfs")
    try:
        overrides = {
            k: v
            for k, v in tiny_overrides(images, tmp_path / "run").items()
            if k in ("dataset_dir", "backbone", "backbone_weights", "image_size", "device") or "#" in k
        }
        overrides |= {"cache_dir": str(disk / "cache")}
        refused = run("extract", *as_options(overrides))
        assert refused.returncode == 1 and "free" in refused.stderr and "Traceback" not in refused.stderr
        assert not (disk / "cache").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=False)
