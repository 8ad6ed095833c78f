"""Tiny runs to export, and files asked with nothing but their own runtime."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import monai_fpt._torchvision  # noqa: F401  # before timm's first import
from monai_fpt.export import FACTS_KEY
from monai_fpt.features import FeatureSpec, FPTModelCard
from monai_fpt.networks import FPTClassifier, FPTConfig

CLASSES = ("nevus", "melanoma", "keratosis")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def tiny_config(**changes: Any) -> FPTConfig:
    """A ViT-Tiny of two blocks at 64 px (17 tokens, 3 heads of 64); keywords change fields."""
    fields: dict[str, Any] = {
        "backbone": "vit_tiny_patch16_224",
        "backbone_weights": None,
        "image_size": 64,
        "num_classes": 3,
        "blocks": (0, 1),
        "side_size": 32,
        "num_tokens": 5,
        "num_prompts": 4,
        "backbone_kwargs": {"depth": 2},
    }
    return FPTConfig(**(fields | changes))


def loud_network(config: FPTConfig) -> FPTClassifier:
    """A network in eval mode whose learnable weights are large, so that no part of it is hidden by an initialisation near zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same network every time
        network = FPTClassifier(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()


def loud_run(folder: Path, config: FPTConfig | None = None, **facts: Any) -> Path:
    """A run's folder with such a network, trained as it were with MEAN and STD."""
    folder.mkdir(parents=True, exist_ok=True)
    network = loud_network(config or tiny_config())
    torch.save(network.state_dict(), folder / "model.pt")
    spec = FeatureSpec.from_network(network, mean=MEAN, std=STD, preprocessing=preprocessing(network.config.image_size))
    FPTModelCard(network.config, **({"classes": CLASSES, "features": spec} | facts)).save(folder / "model.json")
    return folder


def preprocessing(size: int) -> str:
    """What the predictor will do to images before the normalisation, as a training writes it down."""
    from monai.transforms import Compose

    from monai_fpt.data import FPTImageReader, FPTLoadImaged
    from monai_fpt.transforms import FPTResized, fpt_describe

    return fpt_describe(Compose([FPTLoadImaged("image", FPTImageReader()), FPTResized("image", size)]))


def model_answers(config: FPTConfig, images: Tensor) -> Tensor:
    """Logits of images in [0, 1], normalised by hand."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        return loud_network(config)((images - mean) / std)


def file_answers(path: Path, format: str, images: Tensor) -> dict[str, Tensor]:
    """What a file says, through its runtime alone."""
    loaded = _loaded(path, format, path.stat().st_mtime_ns)
    if format == "onnx":
        names = [output.name for output in loaded.get_outputs()]
        return dict(zip(names, map(torch.from_numpy, loaded.run(None, {"image": images.numpy()})), strict=True))
    with torch.no_grad():
        answers: dict[str, Tensor] = loaded(images)
    return answers


@functools.lru_cache(maxsize=8)
def _loaded(path: Path, format: str, written: int) -> Any:
    if format == "onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.export.load(path).module() if format == "torch_export" else torch.jit.load(path)


def file_facts(path: Path, format: str) -> dict[str, Any]:
    """What stands in a file, by its runtime alone."""
    extra = {FACTS_KEY: ""}
    if format == "onnx":
        import onnx

        extra = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    elif format == "torch_export":
        torch.export.load(path, extra_files=extra)
    else:
        torch.jit.load(path, _extra_files=extra)
    facts: dict[str, Any] = json.loads(extra[FACTS_KEY])
    return facts


def drawn(number: int, size: int = 64, seed: int = 5) -> Tensor:
    """Images in [0, 1] that the export itself did not see."""
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(seed))
