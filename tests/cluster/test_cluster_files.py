"""The example files of ``docs/cluster`` are what Slurm and Kubernetes accept, and the commands in them extract and train.

Slurm and Kubernetes themselves are not here: two stand-ins play ``srun`` and ``scontrol``, and a pod's command is run as
the kubelet would run it. What is run is read from the files, not repeated.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from drawn_folders import draw_images

from monai_fpt.features import FeatureStore

CLUSTER = Path(__file__).resolve().parents[2] / "docs" / "cluster"
SBATCH = sorted(CLUSTER.glob("*.sbatch"))
YAML = sorted(CLUSTER.glob("*.yaml"))
SBATCH_OPTIONS = {  # of sbatch's manual, with the form of their values
    "job-name": r"[\w-]+",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "gpus-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "requeue": "",
    "output": r"\S+",
}
TINY = [
    *("--backbone", "vit_tiny_patch16_224", "--backbone_weights", "random", "--image_size", "64"),
    *("--network_config#backbone_kwargs", "{'depth': 2}", "--network_config#side_size", "32"),
]
TRAINING = ["--max_epochs", "2", "--batch_size", "4", "--track", "false", "--report", "false"]
SRUN = """#!/bin/bash
# Start the command once a node, wait for all of them, fail if one fails. SLURM_LOCALID is not set, so that who asks for it fails.
while [[ $1 == --* ]]; do shift; done
for node in $(seq "$SLURM_NNODES"); do "$@" & started+=($!); done
for one in "${started[@]}"; do wait "$one" || failed=1; done
exit "${failed:-0}"
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames a,b" ]] || exit 1
echo 127.0.0.1
sleep 0.2 # who reads one line and goes away ends this command, and with it a script that minds failing pipes
echo 127.0.0.1
"""


def documents(kind: str) -> dict[str, Any]:
    """All documents of a kind, by name."""
    every = [document for file in YAML for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return {one["metadata"]["name"]: one for one in every if one["kind"] == kind}


def container(job: str) -> dict[str, Any]:
    (only,) = documents("Job")[job]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_there_are_files_for_both_systems_and_both_jobs() -> None:
    assert [file.name for file in SBATCH] == ["slurm_extract.sbatch", "slurm_train.sbatch"]
    assert sorted(documents("Job")) == ["fpt-extract", "fpt-train"]


@pytest.mark.parametrize("file", SBATCH, ids=lambda file: file.name)
def test_bash_parses_a_batch_script(file: Path) -> None:
    subprocess.run(["bash", "-n", str(file)], check=True)


@pytest.mark.parametrize("file", SBATCH, ids=lambda file: file.name)
def test_a_batch_script_asks_for_what_slurm_knows(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    asked = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]

    assert len(asked) == 8
    for name, _, value in (one.partition("=") for one in asked):
        assert re.fullmatch(SBATCH_OPTIONS[name], value), name
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:])  # Slurm reads none after a command


@pytest.mark.parametrize("version", ["1.28", "1.37"])
@pytest.mark.parametrize("file", YAML, ids=lambda file: file.name)
def test_kubernetes_accepts_a_file(file: Path, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="needs the package kubernetes-validate")
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        assert validator.validate(document, version, strict=True) == version


@pytest.mark.parametrize("job", ["fpt-extract", "fpt-train"])
def test_numbers_and_names_of_a_job_agree(job: str) -> None:
    spec = documents("Job")[job]["spec"]
    pod, variables = spec["template"]["spec"], {one["name"]: one["value"] for one in container(job)["env"]}
    (service,) = documents("Service").values()

    assert spec["completionMode"] == "Indexed"
    assert int(variables["NODES"]) == spec["completions"] == spec["parallelism"]
    assert int(variables["PROCESSES"]) == container(job)["resources"]["limits"]["nvidia.com/gpu"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["template"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    head = f"{job}-0.{pod['subdomain']}" if spec["completions"] > 1 else "localhost"
    assert variables["HEAD"] == head
    claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert claims == set(documents("PersistentVolumeClaim"))
    assert {m["name"] for m in container(job)["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    used = set(re.findall(r"\$([A-Z_]+)", container(job)["command"][2]))
    assert used - {"JOB_COMPLETION_INDEX"} <= set(variables)


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """This interpreter as ``python`` and ``torchrun``, stand-ins for Slurm's commands, no GPU."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return inherited | {"PATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def require_a_trained_run(cache: Path, run: Path) -> None:
    store = FeatureStore(cache)
    assert len(store) == 40 and store.verify() == []
    assert len(list((cache / "parts").glob("*.bin"))) == 2  # both processes had images
    assert (run / "model.pt").is_file()
    assert len((run / "test_predictions.csv").read_text(encoding="utf-8").splitlines()) == 1 + 12


@pytest.mark.slow
def test_the_slurm_scripts_extract_and_train_on_two_nodes(
    images: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    slurm = {"SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a,b", "SLURM_CPUS_PER_TASK": "1"}
    cache, run = tmp_path / "cache", tmp_path / "run"
    for file, arguments in ((SBATCH[0], [images, cache, *TINY]), (SBATCH[1], [images, cache, run, *TINY, *TRAINING])):
        script = Path(shutil.copy(file, tmp_path / "spooled"))  # as Slurm does, so that it knows no folder of its own
        done = subprocess.run(
            ["bash", str(script), *map(str, arguments)],
            env=environment | slurm | {"FPT_PORT": free_port()},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    require_a_trained_run(cache, run)


@pytest.mark.slow
def test_the_pods_of_kubernetes_extract_and_train(images: Path, environment: dict[str, str], tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    there = {"IMAGES": str(images), "CACHE": str(cache), "RUN": str(run), "HEAD": "127.0.0.1"}
    for job, options in (("fpt-extract", TINY), ("fpt-train", [*TINY, *TRAINING])):
        variables = {one["name"]: one["value"] for one in container(job)["env"]}
        variables |= {name: value for name, value in there.items() if name in variables}
        variables |= {"PORT": free_port(), "OMP_NUM_THREADS": "1"}
        pods = [
            subprocess.Popen(
                [*container(job)["command"], *options],
                env=environment | variables | {"JOB_COMPLETION_INDEX": str(index)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(documents("Job")[job]["spec"]["completions"])
        ]
        said = [pod.communicate(timeout=280)[1] for pod in pods]
        assert [pod.returncode for pod in pods] == [0] * len(pods), said[0][-3000:]

    require_a_trained_run(cache, run)
