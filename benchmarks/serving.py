"""What a served answer costs beside the direct call: ``python -m benchmarks.serving RUN_DIR FILE...``.

The model of a run is packed and served by ``mlflow models serve`` on this machine. Each file is then asked for in turns,
directly (``FPTPredictor.predict``: read, prepare, network) and over HTTP (base64, JSON, the same, JSON), single and as a
batch; the ratio is that of the fastest turns, for other work on the machine only ever adds. Both sides have the same
number of threads and never compute at the same time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monai_fpt.registry import FPTPredictor, package_model
from monai_fpt.registry.mlflow_folder import save_mlflow_model


def post(url: str, files: list[Path]) -> Any:
    """Ask the server as a client does, from the files on the disk."""
    rows = [[base64.b64encode(file.read_bytes()).decode()] for file in files]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["predictions"]


def milliseconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def measure(name: str, files: list[Path], predictor: FPTPredictor, url: str, rounds: int) -> dict[str, Any]:
    """Both ways in interleaved rounds; the answers must be equal."""
    direct = [answer.logits for answer in predictor.predict(files)]
    served = [tuple(row["logits"].values()) for row in post(url, files)]
    difference = max(
        abs(a - b) for one, other in zip(direct, served, strict=True) for a, b in zip(one, other, strict=True)
    )
    taken: dict[str, list[float]] = {"direct": [], "served": []}
    for _ in range(rounds):
        taken["direct"].append(milliseconds(lambda: predictor.predict(files)))
        taken["served"].append(milliseconds(lambda: post(url, files)))
    fastest = {way: min(found) for way, found in taken.items()}
    size = sum(file.stat().st_size for file in files) / 1e6
    ratio = fastest["served"] / fastest["direct"]
    return {"images": name, "count": len(files), "MB": size, **fastest, "ratio": ratio, "difference": difference}


def start_server(model: Path, port: int, threads: int) -> subprocess.Popen[bytes]:
    """``mlflow models serve``, ready to answer."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [
        "models",
        "serve",
        "-m",
        str(model),
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": str(threads), "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(
                f"mlflow models serve ended with code {process.returncode}; start it by hand to see why."
            )
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return process
        except OSError:
            time.sleep(1)
    raise RuntimeError("mlflow models serve did not answer within five minutes.")


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--batch", type=int, default=8, help="images of the batch made of each file")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    if options.backbone_weights:
        os.environ["MONAI_FPT_BACKBONE"] = str(options.backbone_weights)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        package = package_model(options.run_dir, Path(folder) / "fpt", backbone_weights=options.backbone_weights)
        model = save_mlflow_model(package, Path(folder) / "model")
        predictor = FPTPredictor.from_folder(package.folder)
        server = start_server(model, port, options.threads)
        try:
            for file in options.files:
                for count in (1, options.batch):
                    name = f"{file.name} x {count}"
                    rows.append(measure(name, [file] * count, predictor, f"http://127.0.0.1:{port}", options.rounds))
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    print(f"{'images':<32}{'MB':>8}{'direct ms':>12}{'served ms':>12}{'ratio':>8}{'difference':>12}")
    for row in rows:
        print(
            f"{row['images']:<32}{row['MB']:>8.2f}{row['direct']:>12.1f}{row['served']:>12.1f}{row['ratio']:>8.2f}{row['difference']:>12.1g}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
