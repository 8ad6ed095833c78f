"""The bundle that ships with the package: where it lies, and how to run it from Python as ``python -m monai.bundle
run`` does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

import monai_fpt

__all__ = ["bundle_config", "fpt_bundle_root", "run_bundle"]

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
    for name, value in overrides.items():
        top = name.replace("::", "#").split("#")[0]
        if top not in workflow.parser.config:
            known = ", ".join(sorted(k for k, v in workflow.parser.config.items() if not isinstance(v, dict | list)))
            raise ValueError(f'The {job} configuration has no "{top}"; it has {known}.')
        owner = name.replace("::", "#").rpartition("#")[0]
        if owner and not isinstance(workflow.parser.get(owner), dict | list):
            raise ValueError(
                f'"{name}" cannot be set: "{owner}" of the {job} configuration is one expression; set "{owner}" whole.'
            )
        workflow.parser[name] = value
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # its errors are raised, too
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow
