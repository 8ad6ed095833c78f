"""Data sets, caches and tracking stores: look at them, compare them, fetch them, send them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_fpt.cli.app import group
from monai_fpt.cli.options import BUNDLE, TrackingUri, options_of, overrides_of, part_for

cache_app = group("cache", "Look after a feature cache.", no_args_is_help=True)
tracking_app = group("tracking", "Look after what was tracked.", no_args_is_help=True)
data_app = group("data", "Look at a data set before it is learnt from.", no_args_is_help=True)
datasets_app = group("datasets", "The public data sets: list, check, download.")


@cache_app.command()
def verify(cache_dir: Annotated[Path, typer.Argument(help="The cache_dir of a run.")]) -> None:
    """Compare every record of a cache with its checksum; exits 1 if something is damaged."""
    from monai_fpt.features import FeatureStore

    store = FeatureStore(cache_dir, strict=False)
    problems = store.verify()
    for problem in problems:
        print(problem)
    print(
        f"{len(store)} images, {store.spec.dtype}, backbone {store.spec.backbone}: "
        + (f"{len(problems)} findings" if problems else "whole")
    )
    raise typer.Exit(bool(problems))


@data_app.command(
    "check",
    context_settings=BUNDLE,
    epilog="Other options are those of a table (--group_column ...), of the reader (--frame ...) and of the check (--num_workers ...); see docs/data_check.md.",
)
def check_data(
    context: typer.Context,
    dataset_dir: Annotated[
        str | None, typer.Option("--dataset_dir", "--dataset-dir", help="Folder of the images.")
    ] = None,
    data_list: Annotated[
        str | None, typer.Option("--data_list", "--data-list", help="A table, or a saved list.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Also write the report there: .html or .json.")] = None,
) -> None:
    """Read every image once and report what would spoil a training: unreadable files, copies across splits, patients in
    two splits, spoilt pixels, shortcuts. Exits 1 if there is an error."""
    from monai_fpt.data import ImageOptions, build_data_list
    from monai_fpt.data.check import run_data_check

    given = overrides_of(context.args)
    if "dataset_name" in given:  # as the bundle calls it
        given["dataset"] = given.pop("dataset_name")
    how, of_list, of_reader = (part_for(given, made) for made in (run_data_check, build_data_list, ImageOptions))
    if given:
        known = sorted({name for made in (run_data_check, build_data_list, ImageOptions) for name in options_of(made)})
        raise typer.BadParameter(f"there is no --{next(iter(given))}; there are {', '.join(known)}.")
    raise typer.Exit(
        run_data_check(dataset_dir, data_list, output, list_options=of_list, options=ImageOptions(**of_reader), **how)
    )


@datasets_app.callback(invoke_without_command=True)
def list_datasets(context: typer.Context) -> None:
    """List the public data sets that can be loaded by name."""
    from monai_fpt.data.datasets import fpt_datasets

    if context.invoked_subcommand is not None:
        return
    for name, dataset in fpt_datasets().items():
        how = "download" if dataset.source_files else "by hand"
        split = "official split" if dataset.official_split else "no official split"
        print(f"{name:<11} {dataset.title}: {len(dataset.classes) or 'various'} classes, {split}, {how}")
        print(f"{'':<11} {dataset.licence}")
    print("\nmonai-fpt datasets check NAME DIR      what of a copy is missing, extra or corrupt")
    print("monai-fpt datasets download NAME DIR   fetch one, or print how to get it")
    print("monai-fpt train --config NAME --dataset_dir DIR --run_dir RUN")


@datasets_app.command("check", context_settings=BUNDLE)
def check_dataset(context: typer.Context, name: str, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Compare a copy with what is published and read every image; exits 1 if something is missing, extra or corrupt."""
    from monai_fpt.data.datasets import check_fpt_dataset

    found = check_fpt_dataset(name, folder, **overrides_of(context.args))
    print(found)
    raise typer.Exit(not found.ok)


@datasets_app.command("download", context_settings=BUNDLE)
def download_dataset(context: typer.Context, name: str, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Fetch a data set where a program may, and print the steps where only a person can; goes on where it stopped."""
    from monai_fpt.data.datasets import download_fpt_dataset

    folder.mkdir(parents=True, exist_ok=True)
    download_fpt_dataset(name, folder, **overrides_of(context.args))


@tracking_app.command("sync")
def sync(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder, or one above several.")],
    tracking_uri: TrackingUri = None,
) -> None:
    """Send what did not reach the MLflow store when it was away; exits 1 if something still waits."""
    from monai_fpt.handlers import sync_tracking

    done = sync_tracking(run_dir, tracking_uri)
    print(done)
    raise typer.Exit(not done.complete)
