"""Many trainings on one cache: cross-validation and search."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from monai_fpt.cli.app import app
from monai_fpt.cli.options import BUNDLE, IDS, AtOnce, Config, Engine, Seeds, numbers_of, overrides_of, preset_file


@app.command(context_settings=BUNDLE, epilog=IDS)
def cv(
    context: typer.Context,
    config: Config = None,
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seeds: Seeds = None,
    sections: Annotated[str, typer.Option(help="Which images take part.")] = "training,validation,test",
    validation_fraction: Annotated[
        float,
        typer.Option(
            "--validation_fraction", "--validation-fraction", help="Of a fold's images, for choosing the epoch."
        ),
    ] = 0.15,
    engine: Engine = "auto",
    at_once: AtOnce = 5,
) -> None:
    """Cross-validate: every image is tested once, by a network that never saw its patient; the cache is filled once."""
    from monai_fpt.experiments import run_cross_validation

    run_cross_validation(
        overrides_of(context.args),
        configs=[preset_file(name) for name in config or ()],
        folds=folds,
        seeds=numbers_of(seeds),
        sections=sections.split(","),
        validation_fraction=validation_fraction,
        engine=engine,
        at_once=at_once,
    )


@app.command(context_settings=BUNDLE, epilog=IDS)
def search(
    context: typer.Context,
    config: Config = None,
    trials: Annotated[int, typer.Option(help="How many there are to be in the end.")] = 20,
    space: Annotated[str | None, typer.Option(help="JSON: ids and what they may be; see docs/experiments.md.")] = None,
    seeds: Seeds = None,
    engine: Engine = "auto",
    at_once: AtOnce = 5,
    test: Annotated[bool, typer.Option(help="Test the best model once, at the end.")] = True,
) -> None:
    """Search hyper-parameters by validation on one cache; goes on where it stopped, tests the best model once."""
    from monai_fpt.experiments import run_search

    try:
        chosen = None if space is None else json.loads(space)
    except ValueError as error:
        raise typer.BadParameter(f"--space is not JSON ({error}); see docs/experiments.md.") from None
    run_search(
        overrides_of(context.args),
        configs=[preset_file(name) for name in config or ()],
        trials=trials,
        space=chosen,
        seeds=numbers_of(seeds),
        engine=engine,
        at_once=at_once,
        test=test,
    )
