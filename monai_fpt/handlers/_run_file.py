"""``mlflow_run.json``: which run in MLflow the training in a folder is.

It stands beside ``last.pt``, so that whoever resumes the training finds the run that it began, and whoever registers the
model finds where it came from. Decisions:

- Written before the run is made (its key is known then, MLflow's id is not), and again when MLflow gave it an id.
- A folder that was copied holds a copy of this file, and both copies would write into one run. The file therefore says
  where it was written; it counts in the same place, or where the folder was moved within its disk.
- A run in it that trained a model is not replaced by another run that does not go on with it.
- Passwords within an address are not written down (``_addresses``), and a store inside the folder is named relative to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_fpt.handlers._addresses import hidden_address
from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._heartbeat import owner_gone, read_heartbeat
from monai_fpt.handlers._store import SQLITE, sqlite_file

__all__ = [
    "RUN_FILE",
    "FPTTrackedRun",
    "expanded_uri",
    "note_run",
    "read_run_file",
    "resumable",
    "stored_uri",
    "tracked_run",
]

RUN_FILE = "mlflow_run.json"
HERE = "{run_dir}"
NAMES = ("key", "run_id", "tracking_uri", "experiment", "run_name", "started")
TRAINED = ("last.pt", "model.pt")


@dataclass(frozen=True)
class FPTTrackedRun:
    """The run of a training.

    Args:
        run_id: MLflow's id; None when the run never reached MLflow.
        tracking_uri: of the store; a password in it is replaced by ``***``.
        experiment: its name.
        run_name: its name.
        key: the package's own name of the run, its tag ``monai_fpt.run``.
    """

    run_id: str | None
    tracking_uri: str
    experiment: str
    run_name: str
    key: str


def tracked_run(run_dir: str | Path) -> FPTTrackedRun | None:
    """The run that trained what is in ``run_dir``; None when that was not tracked.

    Args:
        run_dir: folder of a training.

    Raises:
        ValueError: its ``mlflow_run.json`` is damaged.
    """
    content = read_run_file(Path(run_dir))
    if content is None:
        return None
    return FPTTrackedRun(
        run_id=content["run_id"],
        tracking_uri=expanded_uri(content["tracking_uri"], Path(run_dir)),
        experiment=content["experiment"],
        run_name=content["run_name"],
        key=content["key"],
    )


def read_run_file(run_dir: Path) -> dict[str, Any] | None:
    """Content of the file; None when there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = run_dir / RUN_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fits = {*NAMES, "folder", "owner"} <= content.keys()
    except (ValueError, AttributeError):
        fits = False
    if not fits:
        raise ValueError(f'"{path}" is damaged: restore it, or remove it to let the training be a new run.')
    return dict(content)


def note_run(run_dir: Path, header: Mapping[str, Any], owner: Mapping[str, Any] | None, resumed: bool = False) -> None:
    """Write the file, unless that would take the run of a trained model away.

    Args:
        run_dir: folder of the training.
        header: of the run, see ``_claim.new_header``.
        owner: heartbeat of the process that writes the run; None when it has ended, which is noted only for the run that
            the file is about.
        resumed: whether the training in the folder is gone on with, so that this run is its run now.

    Raises:
        OSError: the file cannot be written.
    """
    before = None
    with contextlib.suppress(ValueError):
        before = read_run_file(run_dir)
    if before is not None and before["key"] != header["key"]:
        trained = any((run_dir / name).exists() for name in TRAINED)
        if owner is None or (trained and not resumed):
            return
    folder = {"path": str(run_dir.resolve()), "inode": _inode(run_dir)}
    told = {**{name: header[name] for name in NAMES}, "folder": folder, "owner": owner}
    replace_file_content(run_dir / RUN_FILE, json.dumps(told, indent=1).encode())


def resumable(run_dir: Path, uri: str) -> tuple[dict[str, Any] | None, str]:
    """The run that a resumed training goes on with, or why there is none.

    Args:
        run_dir: folder of the training.
        uri: the store of now.

    Returns:
        content of the file or None, and in that case the reason.
    """
    try:
        content = read_run_file(run_dir)
    except ValueError:
        return None, f"{RUN_FILE} is damaged"
    if content is None:
        return None, f"there is no {RUN_FILE}"
    place = content["folder"]
    if place["path"] != str(run_dir.resolve()) and place["inode"] != _inode(run_dir):
        return None, f"{RUN_FILE} came from another folder, of which this one is a copy"
    if content["tracking_uri"] != stored_uri(uri, run_dir):
        return None, "the run is in another store"
    owner = read_heartbeat(json.dumps(content["owner"]))
    if owner is not None and not owner_gone(owner):
        return None, f"process {owner['pid']} on {owner['host']} is still writing the run"
    return content, ""


def stored_uri(uri: str, run_dir: Path) -> str:
    """An address as it may be written down: absolute, within ``run_dir`` relative to it, without password."""
    database = sqlite_file(uri)
    if database is None:
        return hidden_address(uri)
    question = "?" + hidden_address(uri).partition("?")[2] if "?" in uri else ""
    inside = database.is_relative_to(run_dir.resolve())
    path = f"{HERE}/{database.relative_to(run_dir.resolve()).as_posix()}" if inside else database.as_posix()
    return f"{SQLITE}{path}{question}"


def expanded_uri(text: str, run_dir: Path) -> str:
    """What ``stored_uri`` wrote, as an address."""
    return text.replace(f"{SQLITE}{HERE}", f"{SQLITE}{run_dir.resolve().as_posix()}", 1)


def _inode(folder: Path) -> int:
    try:
        return os.stat(folder).st_ino
    except OSError:
        return 0
