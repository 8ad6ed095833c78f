"""Many trainings on one cache: cross-validation, search, comparison."""

from __future__ import annotations

import json
from typing import Annotated, Any

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

    chosen = None if space is None else _json(space, "--space", "docs/experiments.md")
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


@app.command(context_settings=BUNDLE, epilog=IDS)
def compare(
    context: typer.Context,
    config: Config = None,
    arms: Annotated[
        str, typer.Option(help="Names and groups (default, adapters, probes, tuning, ablation, all).")
    ] = "default",
    seeds: Seeds = "0,1,2,3,4",
    reference: Annotated[str, typer.Option(help="The arm that the others are compared with.")] = "fpt_plus",
    arm_options: Annotated[
        str | None, typer.Option("--arm_options", "--arm-options", help="JSON: arm to settings of its own.")
    ] = None,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle_labels", "--shuffle-labels", help="Deal labels anew: all must be chance.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Number of resamples.")] = 2000,
    engine: Engine = "auto",
    at_once: AtOnce = 5,
) -> None:
    """Is FPT+ the right choice? Compare it with probes, other tuning and its own variants on the same images; a table and a page."""
    from monai_fpt.compare import run_comparison

    run_comparison(
        overrides_of(context.args),
        configs=[preset_file(name) for name in config or ()],
        arms=arms,
        seeds=numbers_of(seeds) or (),
        reference=reference,
        arm_options=None if arm_options is None else _json(arm_options, "--arm_options", "docs/compare.md"),
        shuffle_labels=shuffle_labels,
        bootstrap=bootstrap,
        engine=engine,
        at_once=at_once,
    )


def _json(text: str, option: str, told: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} is not JSON ({error}); see {told}.") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{option} is no JSON object; see {told}.")
    return found
