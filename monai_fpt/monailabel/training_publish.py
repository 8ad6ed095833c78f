"""The models of an app: versions that appear whole, and one pointer that says which is present.

    model/                  as the user put it there: model.json, and model.pt or adapter.safetensors
      current               one line: the number of the present version; absent until something was published
      versions/1/           model.json, model.pt, training.json (what it was trained on and how it compared)

Decisions:

- A version is made in a folder beside, forced to the disk, renamed into its place, and never written again; only then is
  the pointer replaced, in one step of the file system. Whoever reads the pointer therefore finds a whole model with the
  ``model.json`` that belongs to it, at any moment and after a kill.
- The model that the user put there stays as it is, so that an older state is one line in ``current`` away.
- No calibration is copied: temperature and thresholds belong to the weights they were fitted on.
- ``model.json`` of a version names the backbone's weights where the training found them, so a version loads as a run's
  folder does.
- The newest ten versions are kept, and the present one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monai_fpt._files import write_whole
from monai_fpt.features import FPTModelCard
from monai_fpt.networks import FPTClassifier

__all__ = [
    "POINTER_FILE",
    "VERSIONS_FOLDER",
    "is_trained",
    "present_model_dir",
    "present_version",
    "publish_model",
    "published_by",
    "version_dir",
]

POINTER_FILE = "current"
VERSIONS_FOLDER = "versions"
_KEPT = 10


def present_version(model_dir: str | Path) -> int:
    """The number of the present version; 0 for the model that the user put there.

    Raises:
        ValueError: the pointer names no version.
    """
    pointer = Path(model_dir) / POINTER_FILE
    try:
        text = pointer.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return 0
    if not (text.isascii() and text.isdigit()) or (int(text) and not (_versions(model_dir) / text).is_dir()):
        raise ValueError(
            f'"{pointer}" names the version {text[:40]!r}, which is not in "{VERSIONS_FOLDER}"; write the number of one that is, or 0.'
        )
    return int(text)


def present_model_dir(model_dir: str | Path) -> Path:
    """The folder whose ``model.json`` and weights are to be used now.

    Args:
        model_dir: the app's model folder.

    Raises:
        ValueError: the pointer names no version.
    """
    return version_dir(model_dir, present_version(model_dir))


def version_dir(model_dir: str | Path, number: int) -> Path:
    """The folder of a version; of 0 the app's model folder itself."""
    return _versions(model_dir) / str(number) if number else Path(model_dir)


def is_trained(folder: str | Path) -> bool:
    """Whether there are learned weights in a model's folder, and not only a description."""
    return any((Path(folder) / name).is_file() for name in ("model.pt", "adapter.safetensors"))


def published_by(model_dir: str | Path, training: str) -> int:
    """The number of the version that a training made; 0 where there is none."""
    for path in _versions(model_dir).glob("[0-9]*/training.json"):
        if json.loads(path.read_text(encoding="utf-8")).get("training") == training:
            return int(path.parent.name)
    return 0


def publish_model(
    model_dir: str | Path, network: FPTClassifier, card: FPTModelCard, facts: Mapping[str, Any] | None = None
) -> int:
    """Make a network the present model. The caller sees to it that no other process publishes at the same time.

    Args:
        model_dir: the app's model folder.
        network: with the weights to publish.
        card: its facts; the network's configuration is taken from the network itself.
        facts: kept beside it as ``training.json``.

    Returns:
        The number of the new version.

    Raises:
        OSError: it cannot be written; the present model stays.
    """
    folder = _versions(model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max([0, *_numbers(folder)])
    beside = folder / f".{number}.{os.getpid()}.tmp"
    try:
        beside.mkdir()
        dataclasses.replace(card, network=network.config).save(beside / "model.json")
        torch.save(network.state_dict(), beside / "model.pt")
        (beside / "training.json").write_text(json.dumps(facts or {}, indent=1) + "\n", encoding="utf-8")
        for path in beside.iterdir():
            _force_to_disk(path)
        os.rename(beside, folder / str(number))
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _force_to_disk(folder)
    write_whole(Path(model_dir) / POINTER_FILE, f"{number}\n")
    for old in sorted(_numbers(folder))[:-_KEPT]:
        if old != number:
            shutil.rmtree(folder / str(old), ignore_errors=True)
    return number


def _versions(model_dir: str | Path) -> Path:
    return Path(model_dir) / VERSIONS_FOLDER


def _numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]


def _force_to_disk(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # folders cannot be opened everywhere
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
