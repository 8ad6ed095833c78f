"""How long a reader waits in MONAI Label while the server scores a large pool of images and trains.

    python -m benchmarks.label_latency [--images 2000] [--labels 200] [--readers 2] [--threads 1] [--pause 0.2] [--seconds 20]

Runs in MONAI Label's environment (docs/monailabel.md). A studies folder of small images and a cache of random features of the real
shape (ViT-Tiny, 512 px, the bundle's settings) are made in a temporary folder, a real server is started over them, and readers do over
HTTP what a client does, one call after the other: ask for the next image (``fpt_margin``), have it answered, save a label, connect
(``/info``). Timed are these calls: with the server idle, while it trains (``run_sync``), and while it scores all images with the model
that was just published. Prints median, 99th percentile and maximum of each, and the machine's load, for on a busy machine the waiting is
mostly for others.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

import monai_fpt.monailabel
from monai_fpt._files import file_sha256
from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.networks import FPTConfig
from monai_fpt.networks._weights import create_trunk

SAMPLE = Path(monai_fpt.monailabel.__file__).parent / "sample_app" / "fpt"
MAIN = "import monai_fpt._torchvision, runpy; runpy.run_module('monailabel.main', run_name='__main__', alter_sys=True)"


def fill(folder: Path, images: int) -> None:
    """Studies, an app without a trained model, and the features of all images; dark images are of one class, bright of the other."""
    (folder / "studies").mkdir()
    app = folder / "app"
    app.mkdir()
    (app / "main.py").write_bytes((SAMPLE / "main.py").read_bytes())
    torch.manual_seed(0)
    weights = folder / "backbone.safetensors"
    save_file(create_trunk("vit_tiny_patch16_224", None, {}).state_dict(), weights)
    config = FPTConfig(backbone="vit_tiny_patch16_224", backbone_weights=str(weights), image_size=512)
    FPTModelCard(config, classes=("dark", "bright")).save(app / "model" / "model.json")
    features = PresentModel(app / "model", app / "cache").features
    spec, generator, draws = features.spec, torch.Generator().manual_seed(0), np.random.default_rng(0)
    indices = torch.zeros(len(spec.blocks), spec.num_heads, spec.num_tokens, dtype=torch.int64)
    size = spec.thumbnail_size
    drawn = [
        (
            torch.randn(spec.feature_shape, generator=generator),
            torch.randint(60 * (n % 2), 60 * (n % 2) + 140, (3, size, size), generator=generator).to(torch.uint8),
        )
        for n in range(64)
    ]
    with features.store.writer() as writer:
        for number in range(images):
            name, low = f"{number:05d}.png", 60 * (number % 2)
            path = folder / "studies" / name
            Image.fromarray(draws.integers(low, low + 140, (48, 48, 3), dtype=np.uint8)).save(path)
            facts = path.stat()
            tokens, thumbnail = drawn[number % len(drawn)]
            writer.add(name, file_sha256(path), facts.st_size, facts.st_mtime_ns, tokens, indices, thumbnail)
            if number % 64 == 63:
                writer.flush()


class Server:
    """The process, and the calls of a client."""

    def __init__(self, folder: Path, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "-c", MAIN, "start_server", "--app", str(folder / "app"), "--studies"]
        command += [str(folder / "studies"), "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2]]
        command += ["--conf", "track", "false"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MONAI_LABEL_SESSION_PATH": str(folder / "s")}
        with (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text()[-2000:])
            try:
                requests.get(f"{self.address}/openapi.json", timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.3)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = requests.request(method, self.address + path, timeout=600, **options)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def label(self, image_id: str) -> None:
        content = json.dumps({"label": ("dark", "bright")[int(image_id.split(".")[0]) % 2]}).encode()
        self.ask(
            "PUT", f"/datastore/label?image={image_id}&tag=final", files={"label": ("l.json", io.BytesIO(content))}
        )

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


def measure(server: Server, readers: int, pause: float, working: Callable[[], bool]) -> dict[str, list[float]]:
    """Seconds of every call that readers made while the server was ``working``."""
    seconds: dict[str, list[float]] = defaultdict(list)

    def read() -> None:
        while working():
            chosen = timed("next image", lambda: server.ask("POST", "/activelearning/fpt_margin", json={}))
            if not chosen:
                raise RuntimeError("Every image has a label; give more --images.")
            timed("answer", partial(server.ask, "POST", f"/infer/fpt?image={chosen['id']}&output=json"))
            timed("save label", partial(server.label, chosen["id"]))
            timed("connect", lambda: server.ask("GET", "/info/"))
            time.sleep(pause)

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.monotonic()
        found = call()
        seconds[name].append(time.monotonic() - began)
        return found

    hands = [threading.Thread(target=read) for _ in range(readers)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    return seconds


def during(work: Callable[[], Any]) -> tuple[Callable[[], bool], list[Any]]:
    """Begin some work in a thread; whether it is still under way, and what came of it."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread.is_alive, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds for which a reader looks at an image")
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder, chosen.images)
        server = Server(folder, chosen.threads)
        try:
            server.ask("POST", "/scoring/fpt_uncertainty?run_sync=true", json={})
            for number in range(chosen.labels):
                server.label(f"{number:05d}.png")
            until = time.monotonic() + chosen.seconds
            phases = {"idle": measure(server, chosen.readers, chosen.pause, lambda: time.monotonic() < until)}
            training = {"max_epochs": 10}
            alive, outcome = during(lambda: server.ask("POST", "/train/fpt?run_sync=true", json=training))
            phases["training"] = measure(server, chosen.readers, chosen.pause, alive)
            alive, scored = during(lambda: server.ask("POST", "/scoring/fpt_uncertainty?run_sync=true", json={}))
            phases["scoring"] = measure(server, chosen.readers, chosen.pause, alive)
        finally:
            server.stop()
        print(f"{chosen.images} images, {chosen.readers} readers, {chosen.threads} threads, {os.cpu_count()} cores")
        print(
            f"load {os.getloadavg()[0]:.1f}; {outcome[0]['message']} ({outcome[0]['seconds']:.0f} s); scored {scored[0]}"
        )
        print("| server | call | calls | median ms | 99th percentile ms | max ms |\n|---|---|---|---|---|---|")
        for phase, calls in phases.items():
            for name, values in calls.items():
                middle, late = np.percentile(values, [50, 99])
                print(
                    f"| {phase} | {name} | {len(values)} | {1000 * middle:.0f} | {1000 * late:.0f} | {1000 * max(values):.0f} |"
                )


if __name__ == "__main__":
    main()
