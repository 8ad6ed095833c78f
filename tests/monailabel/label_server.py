"""MONAI Label's server as a process, and the calls that clients make."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

import monai_fpt.monailabel

_MAIN = "import monai_fpt._torchvision, runpy; runpy.run_module('monailabel.main', run_name='__main__', alter_sys=True)"  # python -m monailabel.main, where a torchvision that does not fit torch can be imported
SAMPLE = Path(monai_fpt.monailabel.__file__).parent / "sample_app" / "fpt"


class Server:
    """A process with ``monailabel start_server``."""

    def __init__(self, root: Path, run: Path | None, **environment: str) -> None:
        self.root, self.environment = root, environment
        self.options = [] if run is None else ["model", str(run)]
        self.app, self.studies = root / "app", root / "studies"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with the sample app where there is none, and wait for its first answer."""
        if not self.app.exists():
            shutil.copytree(SAMPLE, self.app)
        where = ["start_server", "--host", "127.0.0.1", "--port", str(self.port)]
        command = [sys.executable, "-c", _MAIN, *where]
        command += ["--app", str(self.app), "--studies", str(self.studies)]
        for name, value in zip(self.options[::2], self.options[1::2], strict=True):
            command += ["--conf", name, value]
        known = {"MONAI_LABEL_SESSION_PATH": str(self.root / "sessions"), "OMP_NUM_THREADS": "1"}
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **known, **self.environment}, start_new_session=True
            )
        for _ in range(600):
            assert self.process.poll() is None, (self.root / "server.log").read_text()[-3000:]
            try:
                if requests.get(self.url("/openapi.json"), timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.3)
        raise AssertionError("the server did not come up")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            self.process.wait(60)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url(path), timeout=300, **options)

    def json(self, method: str, path: str, **options: Any) -> Any:
        answer = self.ask(method, path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def infer(self, model: str, image: str, output: str | None = "json", **params: Any) -> requests.Response:
        query = f"?image={image}" + (f"&output={output}" if output else "")
        return self.ask("POST", f"/infer/{model}{query}", data={"params": json.dumps(params)})

    def label(self, image: str, content: Any, **params: Any) -> requests.Response:
        file = ("label.json", json.dumps(content).encode(), "application/json")
        return self.ask(
            "PUT",
            f"/datastore/label?image={image}&tag=final",
            files={"label": file},
            data={"params": json.dumps(params)},
        )
