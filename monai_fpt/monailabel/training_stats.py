"""How far a training is: ``train_stats.json`` in the app's model folder, which another process may read meanwhile.

The names are those that clients of MONAI Label know (3D Slicer draws its bars from them): ``epoch``, ``total_epochs``,
``start_ts``, ``total_time``, ``best_metric``. ``better_in`` is the share of resamples in which the new model was better.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from monai_fpt._files import write_whole
from monai_fpt.monailabel.training_options import FPTRetraining

__all__ = ["STATS_FILE", "TrainingStats"]

STATS_FILE = "train_stats.json"


class TrainingStats:
    """The file in a folder.

    Args:
        folder: the app's model folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / STATS_FILE
        self._now: dict[str, Any] = {}

    def began(self, training: str, total_epochs: int) -> None:
        """A training begins."""
        best = self.read().get("best_metric", 0)
        self._now = {
            "training": training,
            "status": "running",
            "pid": os.getpid(),
            "start_ts": int(time.time()),
            "epoch": 0,
            "total_epochs": total_epochs,
            "total_time": 0,
            "best_metric": best,
        }
        self._write()

    def total(self, epochs: int) -> None:
        """So many epochs will be made."""
        self._now["total_epochs"] = epochs
        self._write()

    def epoch(self, number: int, loss: float) -> None:
        """An epoch is over."""
        self._now |= {"epoch": number, "loss": loss, "total_time": self._seconds()}
        self._write()

    def ended(self, outcome: FPTRetraining) -> None:
        """The training is over; its metric counts where its model was published."""
        self._over(outcome.message, outcome.published)
        if outcome.better_in is not None:
            self._now["better_in"] = round(outcome.better_in, 3)
        if outcome.warnings:
            self._now["warnings"] = list(outcome.warnings)
        if outcome.published and outcome.challenger is not None:
            self._now["best_metric"] = outcome.challenger
        self._write()

    def failed(self, message: str) -> None:
        """The training ended without an outcome."""
        self._over(message, published=False)
        self._write()

    def stopped(self, message: str, published: bool) -> None:
        """A training in a process that is gone is over."""
        self._now = self._read() | {"status": "ended", "message": message, "published": published}
        self._write()

    def read(self) -> dict[str, Any]:
        """What was written last; empty before the first training. A training whose process is gone is ``"killed"``."""
        content = self._read()
        if content.get("status") == "running" and not _alive(content.get("pid")):
            content |= {"status": "killed", "message": "The training was stopped; the present model stays."}
        content.pop("pid", None)
        return content

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _over(self, message: str, published: bool) -> None:
        self._now |= {"status": "ended", "message": message, "published": published, "total_time": self._seconds()}

    def _seconds(self) -> int:
        return int(time.time()) - int(self._now.get("start_ts", time.time()))

    def _write(self) -> None:
        write_whole(self.path, json.dumps(self._now))


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, TypeError, ValueError):
        return isinstance(pid, int) and os.name == "nt"
    return True
