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
from monai_fpt.handlers._told import kept, told
from monai_fpt.handlers.checkpoint import MODEL_FILE
from monai_fpt.handlers.run_dir import CARD_FILE

__all__ = ["fpt_executed_config", "fpt_log_run", "fpt_sections", "fpt_tracked_params"]


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


def fpt_sections(*names: str) -> list[Any]:
    """Some sections of the raw configuration whose expression is being evaluated, to tell whether two configurations differ there."""
    config = fpt_executed_config()
    return [config.get(name) for name in names]


def fpt_tracked_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plain top-level values of a configuration, for the parameters of a run; of paths only the last part is told.

    Expressions, lists of them and names that begin with ``_`` are left out: the artifact ``config.json`` has them.

    Args:
        config: raw, as :func:`fpt_executed_config` gives it, or the fields of a configuration object.
    """
    plain = {k: v for k, v in config.items() if v is None or isinstance(v, bool | int | float | str | list)}
    return {k: told(v, k) for k, v in plain.items() if not k.startswith("_") and not _is_expression(v)}


def _is_expression(value: Any) -> bool:
    """Also a list of them, as ``imports`` and ``initialize`` are: what the bundle does is no parameter of a run."""
    if isinstance(value, list):
        return any(_is_expression(one) for one in value)
    return isinstance(value, str) and value.startswith(("$", "@", "%"))


def fpt_log_run(tracker: Any, folder: str | Path, config: Mapping[str, Any]) -> None:
    """Leave the executed configuration in the run's folder, and it and the model in the tracking store.

    The store gets both without the folders of the user's machine, see ``_told``; neither gets a password.

    Args:
        tracker: an ``FPTTracker``.
        folder: gets ``config.json``; ``model.pt`` and ``model.json`` are sent from it where they are.
        config: raw, as :func:`fpt_executed_config` gives it.
    """
    if process_rank() != 0:
        return
    target = Path(folder) / "config.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file_content(target, json.dumps(kept(config), indent=1, default=str).encode())
    tracker.log_dict(told(config), "config.json")
    if (Path(folder) / MODEL_FILE).exists():
        tracker.log_artifact(Path(folder) / MODEL_FILE)
    if (Path(folder) / CARD_FILE).exists():
        card = json.loads((Path(folder) / CARD_FILE).read_text(encoding="utf-8"))
        tracker.log_dict(told(card), CARD_FILE)
