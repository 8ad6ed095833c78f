"""The MLflow registry that is asked: its address, its client, its versions.

The client is made with an explicit address, under the lock that guards a fresh SQLite file, and never by way of MLflow's
state of the process.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from monai_fpt.handlers._store import checked_uri, open_experiment

__all__ = ["ARTIFACT", "DIGEST_TAG", "calm_mlflow", "environment_variables", "find_version", "registry_client"]

ARTIFACT = "fpt"  # name of the package among the files of an MLflow model
DIGEST_TAG = "fpt.digest"
EXPERIMENT = "monai_fpt"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_CALM = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_HTTP_REQUEST_TIMEOUT": "300"}


def registry_client(tracking_uri: str | None) -> Any:
    """A client of the store: as told, else ``MLFLOW_TRACKING_URI``.

    Raises:
        ValueError: neither says one, or it is a folder.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise ValueError("No registry is named; give tracking_uri, or set MLFLOW_TRACKING_URI.")
    return open_experiment(checked_uri(uri), EXPERIMENT)[0]


def find_version(client: Any, uri: str) -> Any:
    """The version that a ``models:/`` address names.

    Raises:
        ValueError: another form of address, or there is no such model, alias or version.
    """
    from mlflow.exceptions import MlflowException

    named = _URI.fullmatch(uri)
    if named is None:
        raise ValueError(f"{uri!r} names no registered model; write models:/name@alias or models:/name/version.")
    name, alias, number = named["name"], named["alias"], named["version"]
    try:
        return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        what = f'alias "{alias}"' if alias else f"version {number}"
        raise ValueError(
            f'The registry has no model "{name}" with {what}; look at the tracking_uri, or register and promote one.'
        ) from error


@contextlib.contextmanager
def calm_mlflow() -> Iterator[None]:
    """No progress bars, and time for large files, unless the user has set the variables."""
    with environment_variables({name: value for name, value in _CALM.items() if name not in os.environ}):
        yield


@contextlib.contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the process for the time of a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
