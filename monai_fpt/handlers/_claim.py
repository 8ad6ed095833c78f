"""Which run a tracker writes: a new one, or the one that this folder's training began."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_fpt.handlers._heartbeat import heartbeat
from monai_fpt.handlers._records import clean_keys, error_line, param_text
from monai_fpt.handlers._run_file import RUN_FILE, note_run, resumable, stored_uri
from monai_fpt.handlers._spool import SPOOL_FOLDER, RunSpool

__all__ = ["claim_lock", "new_header", "run_to_resume", "tag_texts"]

CLAIM_LOCK = ".mlflow_run.lock"
CLAIM_SECONDS = 60
RESUMABLE = ("last.pt", RUN_FILE)  # what a folder holds in which a training began


def new_header(
    run_dir: Path,
    key: str,
    uri: str,
    experiment: str,
    run_name: str,
    tags: Mapping[str, Any],
    parent: Mapping[str, str | None] | None,
) -> dict[str, Any]:
    """All that a store must be told to make the run, now or later.

    Args:
        run_dir: folder of the run.
        key: the package's own name of the run.
        uri: the store.
        experiment: its name.
        run_name: its name.
        tags: of the run.
        parent: ``run_id`` of the run that this one belongs to, and ``key`` where that may not be in the store yet.
    """
    return {
        "format": 1,
        "key": key,
        "run_id": None,
        "tracking_uri": stored_uri(uri, run_dir),
        "experiment": experiment,
        "run_name": run_name,
        "started": int(time.time() * 1000),
        "tags": tag_texts(tags),
        "parent": None if parent is None else dict(parent),
        "owner": heartbeat(),
        "resumed": False,
    }


def run_to_resume(run_dir: Path, header: Mapping[str, Any], uri: str) -> tuple[RunSpool | None, str]:
    """The spool of the run that this folder's training began, claimed for this process, or why there is none.

    Args:
        run_dir: folder of the run.
        header: of a new run.
        uri: the store.

    Returns:
        the spool or None, and in that case the reason; an empty one where no training began yet.
    """
    if not any((run_dir / name).exists() for name in RESUMABLE):
        return None, ""
    try:
        with claim_lock(run_dir):
            content, reason = resumable(run_dir, uri)
            if content is None:
                return None, reason
            folder = run_dir / SPOOL_FOLDER / content["key"]
            left = RunSpool(folder).header if (folder / "run.json").exists() else {}
            names = ("key", "run_id", "run_name", "experiment", "started")
            own = {name: content[name] for name in names} | {"resumed": True}
            own |= {name: left[name] for name in ("run_id", "tags", "parent") if left.get(name)}
            spool = RunSpool(folder, {**header, **own})
            spool.append("reopen", {"heartbeat": heartbeat()})
            spool.append("tags", {"values": header["tags"]})
            note_run(run_dir, spool.header, heartbeat(), resumed=True)
            return spool, ""
    except (OSError, ValueError, RuntimeError) as error:  # a lock that is not given is an OSError too
        return None, error_line(error)


def claim_lock(run_dir: Path) -> FileLock:
    """What is held while it is decided who writes the run of a folder."""
    return FileLock(run_dir / CLAIM_LOCK, timeout=CLAIM_SECONDS)


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags in the form that MLflow takes."""
    return {name: param_text(value) for name, value in clean_keys(tags).items()}
