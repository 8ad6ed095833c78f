"""The bundle that ships with the package: where it lies, and how to run it from Python as ``python -m monai.bundle
run`` does.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

import monai_fpt

__all__ = ["bundle_config", "fpt_bundle_root", "override_config", "run_bundle"]

_CONFIGS = {"extract": "extract.json", "train": "train.json", "evaluate": "evaluate.json", "predict": "inference.json"}


def fpt_bundle_root() -> Path:
    """Folder of the bundle ``fpt_classification``: in the installed package, or in the source tree."""
    package = Path(monai_fpt.__file__).parent
    for folder in (package / "bundles", package.parent / "bundles"):
        if (folder / "fpt_classification" / "configs" / "train.json").is_file():
            return folder / "fpt_classification"
    raise FileNotFoundError(f'The bundle fpt_classification is missing beside "{package}"; reinstall monai-fpt.')


def bundle_config(job: str) -> Path:
    """Configuration file of a job: ``extract``, ``train``, ``evaluate`` or ``predict``."""
    return fpt_bundle_root() / "configs" / _CONFIGS[job]


def override_config(parser: ConfigParser, overrides: Mapping[str, Any], job: str) -> None:
    """Set ids of a configuration that has been read.

    Args:
        parser: of the bundle's configuration; changed in place.
        overrides: ids and their values, nested ones with ``#`` or ``::``.
        job: name of the configuration, for the sentences.

    Raises:
        ValueError: an id that the configuration does not have.
    """
    for name, value in overrides.items():
        path = name.replace("::", "#")
        top, owner = path.split("#")[0], path.rpartition("#")[0]
        if top not in parser.config:
            known = ", ".join(sorted(k for k, v in parser.config.items() if not isinstance(v, dict | list)))
            raise ValueError(f'The {job} configuration has no "{top}"; it has {known}.')
        if owner and not isinstance(parser.get(owner), dict | list):
            raise ValueError(
                f'"{name}" cannot be set: "{owner}" of the {job} configuration is one expression; set "{owner}" whole.'
            )
        _require_field(parser.get(owner) if owner else None, name, path.rpartition("#")[2])
        parser[name] = copy.deepcopy(value)


def _require_field(owner: object, name: str, field: str) -> None:
    """Refuse a field that the network's configuration does not have, before MONAI wraps what Python says of it.

    Raises:
        ValueError: names the fields.
    """
    if not isinstance(owner, dict) or owner.get("_target_") != "monai_fpt.networks.FPTConfig" or field.startswith("_"):
        return
    from monai_fpt.networks import FPTConfig  # heavy, and every job that comes here needs it anyway

    known = [one.name for one in dataclasses.fields(FPTConfig)]
    if field not in known:
        raise ValueError(f'"{name}" cannot be set: the network has no "{field}"; it has {", ".join(known)}.')


def run_bundle(job: str, overrides: Mapping[str, Any], extra_configs: tuple[str, ...] = ()) -> ConfigWorkflow:
    """Run one job of the bundle in this process.

    Args:
        job: ``extract``, ``train``, ``evaluate`` or ``predict``.
        overrides: bundle ids and their values, nested ones with ``#`` or ``::``.
        extra_configs: further configuration files, merged after the job's own (presets).

    Returns:
        the finished workflow; ``workflow.parser`` gives its objects.

    Raises:
        ValueError: an id that the bundle does not have.
    """
    root = fpt_bundle_root()
    files = [str(bundle_config(job)), *extra_configs]
    workflow = ConfigWorkflow(
        config_file=files,
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        workflow_type="train" if job in ("train", "extract") else "infer",
    )
    override_config(workflow.parser, overrides, job)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # its errors are raised, too
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow
