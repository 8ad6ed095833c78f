"""What is done with a trained model: register, promote, report, and checkpoints from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_fpt.cli.app import app
from monai_fpt.cli.options import TrackingUri

BackboneWeights = Annotated[
    Path | None,
    typer.Option(
        "--backbone_weights", "--backbone-weights", help="The backbone's file, where the run's is elsewhere now."
    ),
]
BackboneLicence = Annotated[
    str | None,
    typer.Option("--backbone_licence", "--backbone-licence", help="Of the backbone, where timm states none."),
]


@app.command()
def register(
    run_dir: Annotated[Path, typer.Option("--run_dir", "--run-dir", help="A trained run.")],
    name: Annotated[str, typer.Option(help="Of the registered model.")],
    tracking_uri: TrackingUri = None,
    alias: Annotated[str, typer.Option(help="Set on the new version.")] = "challenger",
    embed_backbone: Annotated[
        bool,
        typer.Option(
            "--embed_backbone",
            "--embed-backbone",
            help="Store the backbone's weights too, for sites without a network.",
        ),
    ] = False,
    backbone_weights: BackboneWeights = None,
    backbone_licence: BackboneLicence = None,
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
    tracking_uri: TrackingUri = None,
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


@app.command()
def export(
    run_dir: Annotated[Path, typer.Option("--run_dir", "--run-dir", help="A trained run.")],
    format: Annotated[str, typer.Option(help="onnx, torch_export or torchscript.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option(help="The file; by default model.onnx, .pt2 or .ts of the run.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Compare on this image too; may be repeated.")] = None,
    backbone_weights: BackboneWeights = None,
    backbone_licence: BackboneLicence = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the model as one file that runs without this package; it is loaded again and compared before it appears."""
    from monai_fpt.export import fpt_export

    exported = fpt_export(
        run_dir,
        format,
        output,
        images=image or (),
        backbone_weights=backbone_weights,
        backbone_licence=backbone_licence,
        overwrite=overwrite,
    )
    print(exported)


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
