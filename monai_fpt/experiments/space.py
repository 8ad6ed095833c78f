"""What a search may vary: ids of the bundle's configuration, each with what it may be.

A space is plain JSON, so that it is written on a command line, kept beside the results and compared with a later one:

    {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true},
     "class_weights": ["equal", "balanced"],
     "network_config#num_prompts": {"low": 4, "high": 32, "step": 4}}

A list is a choice; two whole numbers make a range of whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["DEFAULT_SPACE", "checked_space", "suggested"]

DEFAULT_SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-3, "high": 0.3, "log": True},
    "network_config#dropout": {"low": 0.0, "high": 0.7},
    "class_weights": ["equal", "balanced"],
}
_FIXED = {
    "seed",
    "run_dir",
    "data",
    "data_list",
    "dataset_dir",
    "cache_dir",
    "split_seed",
    "parent_run",
    "tracking_uri",
}


def checked_space(space: Mapping[str, Any] | None) -> dict[str, Any]:
    """The space itself, or the default one.

    Raises:
        ValueError: an entry is neither a choice nor a range, or is nothing that a search may vary.
    """
    found = dict(DEFAULT_SPACE if space is None else space)
    if not found:
        raise ValueError(
            'search: the space is empty; give for example {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true}}.'
        )
    for name, entry in found.items():
        if name.replace("::", "#").split("#")[0] in _FIXED:
            raise ValueError(
                f"search: {name} says where or how trials run and cannot be searched; take it out of the space."
            )
        choice = isinstance(entry, list | tuple) and len(entry) > 0 and all(_is_plain(value) for value in entry)
        if not choice and not _is_range(entry):
            raise ValueError(
                f"search: {name} is {entry!r}; give a list of values, or "
                '{"low": ..., "high": ...} with "log": true or "step": ... where wanted.'
            )
    return found


def suggested(trial: Any, space: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a trial of Optuna suggests."""
    return {name: _suggested(trial, name, entry) for name, entry in space.items()}


def _suggested(trial: Any, name: str, entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return trial.suggest_categorical(name, list(entry))
    low, high, log, step = entry["low"], entry["high"], bool(entry.get("log", False)), entry.get("step")
    if _is_whole(low) and _is_whole(high) and (step is None or _is_whole(step)):
        return trial.suggest_int(name, low, high, step=step or 1, log=log)
    return trial.suggest_float(name, float(low), float(high), step=step, log=log)


def _is_range(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not {"low", "high"} <= set(entry) <= {"low", "high", "log", "step"}:
        return False
    numbers = [entry["low"], entry["high"], *([entry["step"]] if entry.get("step") is not None else [])]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        return False
    log = entry.get("log", False)
    return bool(entry["low"] < entry["high"] and not (log and (entry["low"] <= 0 or entry.get("step") is not None)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
