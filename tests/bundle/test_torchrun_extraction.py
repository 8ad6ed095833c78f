"""Extraction by several processes gives the cache that one process gives, and survives the death of one of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from bundle_toys import draw_images
from torchrun_toys import EXTRACT, command, environment, records, run

from monai_fpt.data import build_data_list
from monai_fpt.features import FeatureStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """47 images: no share of theirs is a multiple of a batch."""
    root = draw_images(tmp_path_factory.mktemp("images"), {"train": 20, "val": 2, "test": 2})
    (root / "train" / "benign" / "0.png").unlink()
    return root


def extract(images: Path, cache: Path, processes: int, **more: Any) -> subprocess.CompletedProcess[str]:
    options = {"dataset_dir": images, "cache_dir": cache, "image_size": 224, **more}
    return run("extracting", EXTRACT if processes else EXTRACT[:1], options, processes=processes)


@pytest.mark.parametrize(
    "dtype, compute", [("float32", "float32"), ("int8", "bfloat16")], ids=["float32", "bfloat16 to int8"]
)
def test_two_processes_write_the_records_of_one_bit_by_bit(
    dtype: str, compute: str, images: Path, tmp_path: Path
) -> None:
    caches = {}
    for processes in (0, 2):
        done = extract(images, tmp_path / str(processes), processes, feature_dtype=dtype, compute_dtype=compute)
        assert done.returncode == 0, done.stderr[-3000:]
        caches[processes] = records(tmp_path / str(processes))

    assert len(list((tmp_path / "2" / "parts").glob("*.bin"))) == 2
    assert len(caches[0]) == 47
    assert caches[2] == caches[0]


def lines(cache: Path) -> list[bytes]:
    return [line for journal in sorted(cache.glob("parts/*.jsonl")) for line in journal.read_bytes().splitlines()]


def kill_one_after(
    images: int, cache: Path, processes: list[subprocess.Popen[str]], under: psutil.Process | None
) -> int:
    """Send SIGKILL to one working process once some images are finished; its id."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and all(one.poll() is None for one in processes):
        if len(lines(cache)) >= images:
            victim = processes[-1].pid if under is None else under.children()[-1].pid
            os.kill(victim, signal.SIGKILL)
            return victim
        time.sleep(0.01)
    raise AssertionError(f"{len(lines(cache))} images were finished before anything could be killed")


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.parametrize("agent", ["torchrun", "nobody"], ids="watched by {}".format)
def test_when_one_process_is_killed_the_other_ends_and_a_rerun_goes_on(
    agent: str, images: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    options = {"dataset_dir": images, "cache_dir": cache, "image_size": 224, "extract_batch_size": 1}
    if agent == "torchrun":
        starts = [(command("extracting", EXTRACT, options, processes=2), {})]
    else:  # as a batch system that starts every process by itself
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
        starts = [
            (command("extracting", EXTRACT, options), address | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)
        ]
    log = open(tmp_path / "log.txt", "w+", encoding="utf-8")  # noqa: SIM115
    running = [
        subprocess.Popen(line, env=environment(**variables), stdout=log, stderr=log, text=True)
        for line, variables in starts
    ]
    kill_one_after(6, cache, running, psutil.Process(running[0].pid) if agent == "torchrun" else None)

    codes = [one.wait(timeout=120) for one in running]

    log.seek(0)
    said = log.read()
    assert all(code != 0 for code in codes), said[-3000:]
    assert ("SIGKILL" if agent == "torchrun" else "Connection closed by peer") in said
    finished = set(lines(cache))
    assert 6 <= len(finished) < 47

    again = extract(images, cache, 2)

    assert again.returncode == 0, again.stderr[-3000:]
    assert set(lines(cache)) > finished and len(lines(cache)) == 47
    assert FeatureStore(cache).verify() == []
    assert extract(images, tmp_path / "whole", 0).returncode == 0
    assert records(cache) == records(tmp_path / "whole")


def test_a_process_whose_images_are_unreadable_waits_for_the_other(images: Path, tmp_path: Path) -> None:
    """It has nothing to compute and ends first; torchrun would stop the other, which has done nothing wrong."""
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    data = build_data_list(str(copy))
    listed = [*data.training, *data.validation, *data.test]
    for item in listed[1::2]:
        Path(item["image"]).write_bytes(b"no image")

    done = extract(copy, tmp_path / "cache", 2)

    assert done.returncode != 0
    assert "23 images could not be read" in done.stderr
    assert sorted(FeatureStore(tmp_path / "cache").keys()) == sorted(item["key"] for item in listed[::2])
