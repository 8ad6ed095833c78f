"""What the model that an app began with has learned from: ``learned_before.json`` in the app's model folder.

A run's folder lists its images (``data_list.json``), and its cache of features their contents. An image of the studies that is one of
the run's training images must not judge: the model knows it. Contents are compared where the run's cache is at hand, for files are
renamed and copied; else the paths that the list has. A package has no list, so of its model this is not known.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from monai_fpt._files import write_whole
from monai_fpt.features import FeatureStore
from monai_fpt.monailabel.training_split import RecordedSections

__all__ = ["LEARNED_FILE", "keep_learned", "learned_before"]

LEARNED_FILE = "learned_before.json"
_LIST_FILE = "data_list.json"

logger = logging.getLogger(__name__)


def keep_learned(source: Path, model_dir: Path) -> Path | None:
    """Write down what the model of a folder has learned from.

    Args:
        source: a run's folder or a package.
        model_dir: the app's model folder.

    Returns:
        The file; None where the folder does not say it, which is logged.
    """
    try:
        rows = json.loads((source / _LIST_FILE).read_text(encoding="utf-8"))["training"]
        keys = [str(row["key"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning(
            "%s does not say what its model has learned from (no %s); images of the studies that are among its training images would judge.",
            source,
            _LIST_FILE,
        )
        return None
    contents = _contents(source, set(keys))
    learned = {
        "keys": [key for key in keys if key not in contents],
        "groups": sorted({str(row["group"]) for row in rows if row.get("group") not in (None, "")}),
        "contents": sorted({content for found in contents.values() for content in found}),
    }
    path = model_dir / LEARNED_FILE
    write_whole(path, json.dumps(learned, indent=1) + "\n")
    path.chmod(0o600)  # it names patients
    return path


def learned_before(model_dir: Path) -> RecordedSections:
    """What the model that the app began with has learned from; empty where that is not known."""
    path = model_dir / LEARNED_FILE
    if not path.is_file():
        return RecordedSections()
    learned = json.loads(path.read_text(encoding="utf-8"))
    return RecordedSections(*(dict.fromkeys(learned[name], "training") for name in ("keys", "groups", "contents")))


def _contents(source: Path, keys: set[str]) -> dict[str, set[str]]:
    """Key to SHA-256, where the run's cache has the image."""
    found: dict[str, set[str]] = {}
    for folder in _caches(source):
        try:
            entries = list(FeatureStore(folder))
        except (OSError, ValueError, RuntimeError) as error:
            logger.warning(
                "The features in %s are not read (%s), so its images are told by their paths.", folder, error
            )
            continue
        for entry in entries:
            if entry.key in keys:
                found.setdefault(entry.key, set()).add(entry.sha256)
        if found:
            break
    return found


def _caches(source: Path) -> list[Path]:
    folders = [source / "features"]
    try:
        config: Any = json.loads((source / "config.json").read_text(encoding="utf-8"))
        folders.append(Path(str(config["cache_dir"])))  # an expression where the run left it as it is
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return [folder for folder in folders if (folder / "spec.json").is_file()]
