"""The application, and what one sees of it first."""

from __future__ import annotations

from typing import Annotated

import typer

import monai_fpt

__all__ = ["app", "group"]

app = typer.Typer(
    name="monai-fpt",
    help="Fine-grained prompt tuning (FPT+ and FPT) of frozen vision transformers for high-resolution medical images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def group(name: str, told: str, no_args_is_help: bool = False) -> typer.Typer:
    """A group of commands below the application."""
    made = typer.Typer(help=told, no_args_is_help=no_args_is_help, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"monai-fpt {monai_fpt.__version__}")
        raise typer.Exit
