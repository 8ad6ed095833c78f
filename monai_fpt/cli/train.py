"""From images to a model: extract, train, evaluate, predict, quickstart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_fpt.cli.app import app
from monai_fpt.cli.options import BUNDLE, IDS, Config, run_job


@app.command(context_settings=BUNDLE, epilog=IDS)
def extract(context: typer.Context, config: Config = None) -> None:
    """Read every image once with the frozen backbone and keep what matters in a cache."""
    run_job("extract", context, config)


@app.command(context_settings=BUNDLE, epilog=IDS)
def train(context: typer.Context, config: Config = None) -> None:
    """Extract what is missing, train, choose the best epoch by validation AUC, test, and track everything."""
    run_job("train", context, config)


@app.command(context_settings=BUNDLE, epilog=IDS)
def evaluate(context: typer.Context, config: Config = None) -> None:
    """Evaluate the model of a run on its test section, or on another labelled data set."""
    run_job("evaluate", context, config)


@app.command(context_settings=BUNDLE, epilog=IDS)
def predict(context: typer.Context, config: Config = None) -> None:
    """Predict a folder of images without labels; writes a CSV of class probabilities."""
    run_job("predict", context, config)


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option(help="Where images, cache and run go.")] = Path("quickstart_run"),
    seed: Annotated[int, typer.Option(help="Of images, split and training.")] = 0,
) -> None:
    """Show the method on generated images: no network, no server, no GPU, a few minutes on two cores."""
    from monai_fpt.quickstart import run_quickstart

    run_quickstart(folder, seed)
