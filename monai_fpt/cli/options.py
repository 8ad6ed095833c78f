"""What commands share: ids of the bundle as options, presets, lists of numbers."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "BUNDLE",
    "IDS",
    "AtOnce",
    "Config",
    "Engine",
    "Seeds",
    "TrackingUri",
    "numbers_of",
    "options_of",
    "overrides_of",
    "part_for",
    "preset_file",
    "run_job",
]

BUNDLE: Any = {"allow_extra_args": True, "ignore_unknown_options": True}
IDS = "Options are the ids of the bundle's configuration, --dataset_dir, --run_dir, --backbone and so on; see docs/cli.md."
Config = Annotated[
    list[str] | None, typer.Option(help="A further configuration file, or the name of a preset; may be repeated.")
]


def overrides_of(arguments: list[str]) -> dict[str, Any]:
    """``--key value``, ``--key=value`` -> values, as JSON where they are JSON and as text otherwise."""
    found: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            raise typer.BadParameter(f'"{word}" is no option; options are written --name value.')
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise typer.BadParameter(f"--{name} needs a value, for example --{name} true.")
            value = waiting.pop(0)
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    for read in (json.loads, ast.literal_eval):  # "['a', 'b']" is what one writes in a shell
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def options_of(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {
        "dataset_dir",
        "data_list",
        "output",
        "list_options",
        "options",
    }


def part_for(given: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Take those of the given options that a function has."""
    return {name: given.pop(name) for name in sorted(set(given) & options_of(function))}


def preset_file(name: str) -> str:
    from monai_fpt.bundle import fpt_bundle_root

    if Path(name).suffix:
        return name
    file = fpt_bundle_root() / "configs" / "presets" / f"{name}.json"
    if not file.is_file():
        names = ", ".join(sorted(path.stem for path in file.parent.glob("*.json")))
        raise typer.BadParameter(f'there is no preset "{name}"; the presets are {names}.')
    return str(file)


def run_job(job: str, context: typer.Context, config: list[str] | None) -> None:
    from monai_fpt.bundle import run_bundle

    overrides = overrides_of(context.args)
    run_bundle(job, overrides, tuple(preset_file(name) for name in config or ()))


TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking_uri", "--tracking-uri", help="The MLflow store; by default MLFLOW_TRACKING_URI, else the run's own."
    ),
]


def numbers_of(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f'"{text}" are no seeds; write whole numbers with commas between, as 0,1,2.') from None


Seeds = Annotated[str | None, typer.Option(help="Seeds of the trainings, separated by commas.")]
Engine = Annotated[str, typer.Option(help="auto, stack (side by side) or bundle (one after the other).")]
AtOnce = Annotated[int, typer.Option("--at_once", "--at-once", help="Trained side by side at most.")]
