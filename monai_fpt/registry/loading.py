"""From the registry back to a model that can be asked: a predictor, or a folder on this disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from monai_fpt.registry.package import FPTPackage, FPTPackageError
from monai_fpt.registry.predictor import FPTPredictor
from monai_fpt.registry.store import ARTIFACT, DIGEST_TAG, calm_mlflow, find_version, registry_client

__all__ = ["fetch_package", "load_registered", "package_of"]


def load_registered(
    uri: str,
    *,
    tracking_uri: str | None = None,
    backbone_weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 8,
) -> FPTPredictor:
    """Load a registered model.

    Args:
        uri: ``models:/name@champion`` or ``models:/name/3``.
        tracking_uri: the store; ``MLFLOW_TRACKING_URI`` by default.
        backbone_weights: where the frozen backbone lies here, see :meth:`FPTPredictor.from_folder`.
        device: where the network computes.
        batch_size: images that go through the network at once.

    Raises:
        ValueError: no such model, or it was changed after it was registered.
        FileNotFoundError: its backbone is not here.
        BackboneMismatchError: the backbone here is another.
    """
    with tempfile.TemporaryDirectory(prefix="monai_fpt_") as temporary:
        package = fetch_package(uri, temporary, tracking_uri=tracking_uri)
        return FPTPredictor.from_folder(package.folder, backbone_weights, device, batch_size)


def fetch_package(uri: str, folder: str | Path, *, tracking_uri: str | None = None) -> FPTPackage:
    """Copy the package of a registered model to this disk, and compare it with what was registered.

    Args:
        uri: ``models:/name@champion`` or ``models:/name/3``.
        folder: gets the copy.
        tracking_uri: the store; ``MLFLOW_TRACKING_URI`` by default.

    Raises:
        ValueError: no such model.
        FPTPackageError: it was changed after it was registered, or was not registered by this package.
    """
    client = registry_client(tracking_uri)
    return package_of(client, find_version(client, uri), folder)


def package_of(client: Any, version: Any, folder: str | Path) -> FPTPackage:
    """The package of a version; see :func:`fetch_package`."""
    from mlflow.artifacts import download_artifacts

    name = f'Version {version.version} of "{version.name}"'
    expected = version.tags.get(DIGEST_TAG)
    if expected is None:
        raise FPTPackageError(f"{name} was not registered by monai-fpt; name another version.")
    location = client.get_model_version_download_uri(version.name, version.version)
    Path(folder).mkdir(parents=True, exist_ok=True)
    source = f"{location.rstrip('/')}/artifacts/{ARTIFACT}"
    try:
        with calm_mlflow():
            copied = download_artifacts(source, dst_path=str(folder), tracking_uri=client.tracking_uri)
    except Exception as error:
        raise FPTPackageError(
            f"{name} has lost its files in the store ({type(error).__name__}); restore them, or register the model again."
        ) from error
    package = FPTPackage.load(copied)
    if package.digest != expected:
        raise FPTPackageError(
            f"{name} is not what was registered (digest {package.digest[:16]} instead of {expected[:16]}); register the model again."
        )
    return package
