"""The short commands. Each is a few lines over the bundle or the API; every id of the bundle's configuration is an
option of its command.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import monai_fpt

app = typer.Typer(
    name="monai-fpt",
    help="Fine-grained prompt tuning (FPT+ and FPT) of frozen vision transformers for high-resolution medical images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cache_app = typer.Typer(help="Look after a feature cache.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")
tracking_app = typer.Typer(help="Look after what was tracked.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tracking_app, name="tracking")
data_app = typer.Typer(help="Look at a data set before it is learnt from.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
datasets_app = typer.Typer(help="The public data sets: list, check, download.", rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets")

_BUNDLE: Any = {"allow_extra_args": True, "ignore_unknown_options": True}
_IDS = "Options are the ids of the bundle's configuration, --dataset_dir, --run_dir, --backbone and so on; see docs/cli.md."
_Config = Annotated[
    list[str] | None, typer.Option(help="A further configuration file, or the name of a preset; may be repeated.")
]


def _overrides(arguments: list[str]) -> dict[str, Any]:
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


def _options_of(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {
        "dataset_dir",
        "data_list",
        "output",
        "list_options",
        "options",
    }


def _part_for(given: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Take those of the given options that a function has."""
    return {name: given.pop(name) for name in sorted(set(given) & _options_of(function))}


def _preset(name: str) -> str:
    from monai_fpt.bundle import fpt_bundle_root

    if Path(name).suffix:
        return name
    file = fpt_bundle_root() / "configs" / "presets" / f"{name}.json"
    if not file.is_file():
        names = ", ".join(sorted(path.stem for path in file.parent.glob("*.json")))
        raise typer.BadParameter(f'there is no preset "{name}"; the presets are {names}.')
    return str(file)


def _run(job: str, context: typer.Context, config: list[str] | None) -> None:
    from monai_fpt.bundle import run_bundle

    overrides = _overrides(context.args)
    run_bundle(job, overrides, tuple(_preset(name) for name in config or ()))


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def extract(context: typer.Context, config: _Config = None) -> None:
    """Read every image once with the frozen backbone and keep what matters in a cache."""
    _run("extract", context, config)


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def train(context: typer.Context, config: _Config = None) -> None:
    """Extract what is missing, train, choose the best epoch by validation AUC, test, and track everything."""
    _run("train", context, config)


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def evaluate(context: typer.Context, config: _Config = None) -> None:
    """Evaluate the model of a run on its test section, or on another labelled data set."""
    _run("evaluate", context, config)


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def predict(context: typer.Context, config: _Config = None) -> None:
    """Predict a folder of images without labels; writes a CSV of class probabilities."""
    _run("predict", context, config)


_Uri = Annotated[
    str | None,
    typer.Option(
        "--tracking_uri", "--tracking-uri", help="The MLflow store; by default MLFLOW_TRACKING_URI, else the run's own."
    ),
]


@app.command()
def register(
    run_dir: Annotated[Path, typer.Option("--run_dir", "--run-dir", help="A trained run.")],
    name: Annotated[str, typer.Option(help="Of the registered model.")],
    tracking_uri: _Uri = None,
    alias: Annotated[str, typer.Option(help="Set on the new version.")] = "challenger",
    embed_backbone: Annotated[
        bool,
        typer.Option(
            "--embed_backbone",
            "--embed-backbone",
            help="Store the backbone's weights too, for sites without a network.",
        ),
    ] = False,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            "--backbone_weights", "--backbone-weights", help="The backbone's file, where the run's is elsewhere now."
        ),
    ] = None,
    backbone_licence: Annotated[
        str | None,
        typer.Option("--backbone_licence", "--backbone-licence", help="Of the backbone, where timm states none."),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Folder of the evaluation that speaks for the model; by default the run's own."),
    ] = None,
) -> None:
    """Take a trained run to the MLflow model registry: adapter, preprocessing, calibration, report, reference to the backbone."""
    from monai_fpt.bundle import fpt_bundle_root
    from monai_fpt.registry import register_model

    registered = register_model(
        run_dir,
        name,
        tracking_uri=tracking_uri,
        alias=alias,
        bundle_root=fpt_bundle_root(),
        embed_backbone=embed_backbone,
        backbone_weights=backbone_weights,
        backbone_licence=backbone_licence,
        evaluation=evaluation,
    )
    print(registered.uri)


@app.command()
def promote(
    name: Annotated[str, typer.Option(help="Of the registered model.")],
    tracking_uri: _Uri = None,
    challenger: Annotated[str, typer.Option(help="Alias or version.")] = "challenger",
    primary: Annotated[str, typer.Option(help="The score that decides.")] = "auc",
    when: Annotated[str, typer.Option(help="better, not_worse or always.")] = "better",
) -> None:
    """Make the challenger the champion if it is better on the same test images; says whether the difference is real.

    Exits 1 if it was not promoted.
    """
    from monai_fpt.registry import promote_model

    promotion = promote_model(name, challenger=challenger, tracking_uri=tracking_uri, primary=primary, when=when)
    print(promotion)
    raise typer.Exit(not promotion.promoted)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one that an evaluation wrote.", metavar="DIR")],
    section: Annotated[str, typer.Option(help="test, validation or training.")] = "test",
    aggregate: Annotated[str | None, typer.Option(help="mean or max: patients instead of images.")] = None,
    show_keys: Annotated[bool, typer.Option(help="Name the images on the page.")] = False,
) -> None:
    """Score predictions again, with intervals over patients: a table, report.json and report.html; no image is opened."""
    from monai_fpt.report import fpt_write_report

    fpt_write_report(folder, section, aggregate=aggregate, show_keys=show_keys)


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f'"{text}" are no seeds; write whole numbers with commas between, as 0,1,2.') from None


_Seeds = Annotated[str | None, typer.Option(help="Seeds of the trainings, separated by commas.")]
_Engine = Annotated[str, typer.Option(help="auto, stack (side by side) or bundle (one after the other).")]
_AtOnce = Annotated[int, typer.Option("--at_once", "--at-once", help="Trained side by side at most.")]


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def cv(
    context: typer.Context,
    config: _Config = None,
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    seeds: _Seeds = None,
    sections: Annotated[str, typer.Option(help="Which images take part.")] = "training,validation,test",
    validation_fraction: Annotated[
        float,
        typer.Option(
            "--validation_fraction", "--validation-fraction", help="Of a fold's images, for choosing the epoch."
        ),
    ] = 0.15,
    engine: _Engine = "auto",
    at_once: _AtOnce = 5,
) -> None:
    """Cross-validate: every image is tested once, by a network that never saw its patient; the cache is filled once."""
    from monai_fpt.experiments import run_cross_validation

    run_cross_validation(
        _overrides(context.args),
        configs=[_preset(name) for name in config or ()],
        folds=folds,
        seeds=_numbers(seeds),
        sections=sections.split(","),
        validation_fraction=validation_fraction,
        engine=engine,
        at_once=at_once,
    )


@app.command(context_settings=_BUNDLE, epilog=_IDS)
def search(
    context: typer.Context,
    config: _Config = None,
    trials: Annotated[int, typer.Option(help="How many there are to be in the end.")] = 20,
    space: Annotated[str | None, typer.Option(help="JSON: ids and what they may be; see docs/experiments.md.")] = None,
    seeds: _Seeds = None,
    engine: _Engine = "auto",
    at_once: _AtOnce = 5,
    test: Annotated[bool, typer.Option(help="Test the best model once, at the end.")] = True,
) -> None:
    """Search hyper-parameters by validation on one cache; goes on where it stopped, tests the best model once."""
    from monai_fpt.experiments import run_search

    try:
        chosen = None if space is None else json.loads(space)
    except ValueError as error:
        raise typer.BadParameter(f"--space is not JSON ({error}); see docs/experiments.md.") from None
    run_search(
        _overrides(context.args),
        configs=[_preset(name) for name in config or ()],
        trials=trials,
        space=chosen,
        seeds=_numbers(seeds),
        engine=engine,
        at_once=at_once,
        test=test,
    )


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option(help="Where images, cache and run go.")] = Path("quickstart_run"),
    seed: Annotated[int, typer.Option(help="Of images, split and training.")] = 0,
) -> None:
    """Show the method on generated images: no network, no server, no GPU, a few minutes on two cores."""
    from monai_fpt.quickstart import run_quickstart

    run_quickstart(folder, seed)


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
    context_settings=_BUNDLE,
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

    given = _overrides(context.args)
    if "dataset_name" in given:  # as the bundle calls it
        given["dataset"] = given.pop("dataset_name")
    how, of_list, of_reader = (_part_for(given, made) for made in (run_data_check, build_data_list, ImageOptions))
    if given:
        known = sorted({name for made in (run_data_check, build_data_list, ImageOptions) for name in _options_of(made)})
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


@datasets_app.command("check", context_settings=_BUNDLE)
def check_dataset(context: typer.Context, name: str, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Compare a copy with what is published and read every image; exits 1 if something is missing, extra or corrupt."""
    from monai_fpt.data.datasets import check_fpt_dataset

    found = check_fpt_dataset(name, folder, **_overrides(context.args))
    print(found)
    raise typer.Exit(not found.ok)


@datasets_app.command("download", context_settings=_BUNDLE)
def download_dataset(context: typer.Context, name: str, folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Fetch a data set where a program may, and print the steps where only a person can; goes on where it stopped."""
    from monai_fpt.data.datasets import download_fpt_dataset

    folder.mkdir(parents=True, exist_ok=True)
    download_fpt_dataset(name, folder, **_overrides(context.args))


@tracking_app.command("sync")
def sync(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder, or one above several.")], tracking_uri: _Uri = None
) -> None:
    """Send what did not reach the MLflow store when it was away; exits 1 if something still waits."""
    from monai_fpt.handlers import sync_tracking

    done = sync_tracking(run_dir, tracking_uri)
    print(done)
    raise typer.Exit(not done.complete)


@app.command("import-checkpoint")
def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="The authors' learnable weights: a state dict as .safetensors or torch file.")
    ],
    run_dir: Annotated[Path, typer.Option(help="Gets model.pt and model.json.")],
    network: Annotated[
        Path, typer.Option(help="JSON of FPTConfig fields: method, backbone, backbone_weights, num_classes, ...")
    ],
    classes: Annotated[str | None, typer.Option(help="Class names, separated by commas.")] = None,
) -> None:
    """Turn a checkpoint of the authors' program into a model of this package."""
    from monai_fpt.importing import import_authors_checkpoint

    names = classes.split(",") if classes else None
    model = import_authors_checkpoint(checkpoint, run_dir, network, names)
    learnable, _ = model.num_parameters()
    print(f"Imported {learnable:,} learnable parameters into {run_dir / 'model.pt'}")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"monai-fpt {monai_fpt.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; what a user can mend is one sentence and exit code 1."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a wrong option: typer's own exceptions
            error.show()
            sys.exit(error.exit_code)
        from monai_fpt.handlers import fpt_root_cause

        cause = fpt_root_cause(error)
        if cause is None or os.environ.get("MONAI_FPT_DEBUG"):
            raise
        print(f"error: {cause}", file=sys.stderr)
        code = 1
    if code == 130:
        print("interrupted; the same command goes on (with --resume true once an epoch is finished).", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
