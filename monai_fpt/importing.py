"""Checkpoints of the authors' program as models of this package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from monai_fpt.features import FPTModelCard
from monai_fpt.networks import FPTClassifier, FPTConfig, convert_adapter_state

__all__ = ["import_authors_checkpoint", "load_authors_state"]


def load_authors_state(model: FPTClassifier, state: dict[str, Tensor]) -> FPTClassifier:
    """Load the authors' learnable weights (``fusion_module.*``, ``side_encoder.*``) into a network, strictly.

    Args:
        model: built with the configuration and the backbone the weights were trained with.
        state: their names and values.

    Returns:
        the same network.

    Raises:
        ValueError: names or shapes that do not fit the network.
    """
    converted = convert_adapter_state(state)
    try:
        model.load_state_dict(converted | {"backbone_id": model.backbone_id})
    except RuntimeError as error:
        raise ValueError(
            f"The checkpoint does not fit this FPTConfig: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model


def import_authors_checkpoint(
    checkpoint: str | Path, run_dir: str | Path, network: str | Path, classes: Sequence[str] | None = None
) -> FPTClassifier:
    """Write ``model.pt`` and ``model.json`` for a checkpoint of the authors' program.

    Args:
        checkpoint: a ``.safetensors`` file or a torch file of plain tensors; whole pickled modules are refused.
        run_dir: folder of the result; must not hold a model yet.
        network: JSON file of :class:`FPTConfig` fields.
        classes: names in the order of the logits.

    Raises:
        FileExistsError: ``run_dir`` holds a model.
        ValueError: a file that cannot be read without unpickling, or does not fit.
    """
    folder = Path(run_dir)
    if (folder / "model.pt").exists():
        raise FileExistsError(f'"{folder}" holds a model already; choose another run_dir.')
    config = FPTConfig.from_dict(json.loads(Path(network).read_text(encoding="utf-8")))
    model = load_authors_state(FPTClassifier(config), _read(Path(checkpoint)))
    names = tuple(classes) if classes else tuple(f"class_{i}" for i in range(config.num_classes))
    if len(names) != config.num_classes:
        raise ValueError(f"{len(names)} class names were given for {config.num_classes} classes.")
    folder.mkdir(parents=True, exist_ok=True)
    FPTModelCard(config, classes=names).save(folder / "model.json")
    beside = folder / ".model.pt.tmp"
    torch.save(model.state_dict(), beside)
    beside.replace(folder / "model.pt")
    return model


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f'There is no file "{path}".')
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        raise ValueError(
            f'"{path.name}" cannot be read as plain tensors ({type(error).__name__}); where it was trained, save model.state_dict() '
            f"with safetensors.torch.save_file."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
