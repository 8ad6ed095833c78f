"""The real thing: MLflow's server, its command line and its scoring server, on this machine, from the training to the answer to a
request over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from registry_toys import as_text

from monai_fpt.registry import FPTPredictor, load_registered, promote_model, register_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")]

PATIENCE = 180
CALM = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def running(arguments: list[str], port: int, folder: Path, **environment: str) -> Iterator[str]:
    """A server of MLflow's command line, until the block is left."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by name
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **CALM, "PATH": path, **environment},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(PATIENCE):
            assert process.poll() is None, (folder / "log.txt").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    with running(["server", *store, "--workers", "1"], free_port(), folder) as uri:
        yield uri


@pytest.fixture(scope="module")
def champion(server: str, toy_run: Path) -> str:
    register_model(toy_run, "served", tracking_uri=server)
    assert promote_model("served", tracking_uri=server).promoted
    return "models:/served@champion"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A DICOM file, a photograph, and a 16-bit PNG."""
    folder = tmp_path_factory.mktemp("files")
    found = get_testdata_file("CT_small.dcm")
    assert isinstance(found, str)
    Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 20).save(folder / "photo.jpg")
    Image.fromarray((16 * as_array(folder / "photo.jpg")).astype("uint16")).save(folder / "grey.png")
    return [Path(found), folder / "photo.jpg", folder / "grey.png"]


def as_array(path: Path) -> Any:
    import numpy as np

    return np.asarray(Image.open(path).convert("L")).astype(int)


def post(url: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/invocations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["predictions"]


def test_the_server_gives_back_the_network_that_was_trained(
    champion: str, server: str, toy_run: Path, files: list[Path]
) -> None:
    loaded, trained = load_registered(champion, tracking_uri=server), FPTPredictor.from_folder(toy_run)
    assert loaded.predict(files) == trained.predict(files)
    again = register_model(toy_run, "served", tracking_uri=server)
    assert (again.version, again.created) == ("1", False)


def test_models_predict_answers_a_file_of_rows(
    champion: str, server: str, toy_run: Path, files: list[Path], tmp_path: Path
) -> None:
    rows = [[as_text(file)] for file in files] + [["broken!"]]
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}))
    command = [
        "models",
        "predict",
        "-m",
        champion,
        "--env-manager",
        "local",
        "-t",
        "json",
        "-i",
        "in.json",
        "-o",
        "out.json",
    ]
    subprocess.run(
        [sys.executable, "-m", "mlflow", *command],
        env={**os.environ, **CALM, "MLFLOW_TRACKING_URI": server},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    answers = json.loads((tmp_path / "out.json").read_text())["predictions"]
    wanted = FPTPredictor.from_folder(toy_run).predict(files)
    assert [tuple(row["logits"].values()) for row in answers[:3]] == [answer.logits for answer in wanted]
    assert answers[3]["status"] == "error"


def test_models_serve_answers_over_http(
    champion: str, server: str, toy_run: Path, files: list[Path], tmp_path: Path
) -> None:
    wanted = FPTPredictor.from_folder(toy_run).predict(files)
    arguments = ["models", "serve", "-m", champion, "--env-manager", "local"]
    with running(arguments, free_port(), tmp_path, MLFLOW_TRACKING_URI=server) as url:
        texts = [as_text(file) for file in files]
        rows = post(url, {"dataframe_split": {"columns": ["image"], "data": [[texts[0]], [texts[1]], [texts[2]]]}})
        assert [tuple(row["logits"].values()) for row in rows] == [answer.logits for answer in wanted]
        assert [row["predicted"] for row in rows] == [answer.predicted[0] for answer in wanted]
        mixed = [{"image": texts[0]}, {"image": None}, {"image": "file:/etc/passwd"}, {"image": texts[1]}]
        rows = post(url, {"dataframe_records": mixed, "params": {"heatmap": True}})
        assert [row["status"] for row in rows] == ["ok", "error", "error", "ok"]
        assert rows[0]["heatmap"] and rows[3]["heatmap"] and "takes no paths" in rows[2]["error"]

        def ask(text: str) -> Any:
            return post(url, {"inputs": [{"image": text}]})

        with ThreadPoolExecutor(6) as pool:
            at_once = list(pool.map(ask, texts * 4))
        assert at_once == [ask(text) for text in texts] * 4
