"""The configuration that is being executed: bundle files merged with what the command line overrides.

MONAI writes it only where its own ``--tracking`` is on, and a configuration cannot refer to itself as a whole. While an
expression of a bundle is evaluated, its parser is on the call stack; that is where it is found.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers.checkpoint import MODEL_FILE
from monai_fpt.handlers.run_dir import CARD_FILE

__all__ = ["fpt_executed_config", "fpt_log_run", "fpt_tracked_params"]

_PATHS = {"dataset_dir", "data_list", "run_dir", "cache_dir", "output_dir", "bundle_root", "backbone_weights"}


def fpt_executed_config() -> dict[str, Any]:
    """A copy of the raw configuration of the bundle whose expression is being evaluated; empty outside of one."""
    frame = sys._getframe()
    found: Any = None
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            found = owner
        frame = frame.f_back  # type: ignore[assignment]
    config = found.get() if found is not None else None
    return copy.deepcopy(config) if isinstance(config, dict) else {}


def fpt_tracked_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plain top-level values of a configuration, for the parameters of a run; of paths only the last part is told.

    Args:
        config: raw, as :func:`fpt_executed_config` gives it, or the fields of a configuration object.
    """
    plain = {k: v for k, v in config.items() if v is None or isinstance(v, bool | int | float | str | list)}
    return {k: _told(k, v) for k, v in plain.items() if not (isinstance(v, str) and v.startswith(("$", "@", "%")))}


def fpt_log_run(tracker: Any, folder: str | Path, config: Mapping[str, Any]) -> None:
    """Leave the executed configuration in the run's folder, and it and the model in the tracking store.

    The store gets both without the folders of the user's machine: of every path only the last part.

    Args:
        tracker: an ``FPTTracker``.
        folder: gets ``config.json``; ``model.pt`` and ``model.json`` are sent from it where they are.
        config: raw, as :func:`fpt_executed_config` gives it.
    """
    if process_rank() != 0:
        return
    target = Path(folder) / "config.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = {k: _told(k, v) if k == "tracking_uri" else v for k, v in config.items()}
    replace_file_content(target, json.dumps(kept, indent=1, default=str).encode())
    tracker.log_dict({k: _told(k, v) for k, v in config.items()}, "config.json")
    if (Path(folder) / MODEL_FILE).exists():
        tracker.log_artifact(Path(folder) / MODEL_FILE)
    if (Path(folder) / CARD_FILE).exists():
        card = json.loads((Path(folder) / CARD_FILE).read_text(encoding="utf-8"))
        tracker.log_dict({k: _told(k, v) for k, v in card.items()}, CARD_FILE)


def _told(name: str, value: Any) -> Any:
    """A value as others may read it: of paths only the last part."""
    if isinstance(value, Mapping):
        return {k: _told(k, v) for k, v in value.items()}
    if name == "tracking_uri" and isinstance(value, str) and not value.startswith(("$", "@", "%")):
        return "not recorded: an address may hold a password"
    if (
        isinstance(value, str)
        and (name in _PATHS or Path(value).is_absolute())
        and not value.startswith(("$", "@", "%"))
    ):
        return Path(value).name or value
    return value
