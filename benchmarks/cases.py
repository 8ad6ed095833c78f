"""The network and batches that the benchmarks share: ViT-B/16 (or a smaller one) with random weights, which change neither
time nor bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

import monai_fpt  # noqa: F401 (mends torchvision)
from benchmarks.plain_fpt import PlainFPT
from monai_fpt.features import quantize
from monai_fpt.networks import FPTClassifier, FPTConfig

__all__ = ["Case", "Options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What all benchmarks are run with.

    Attributes:
        backbone: timm name.
        image_size: pixels.
        batch: images per training step.
        rounds: repetitions of each timing.
        device: ``"cpu"`` or ``"cuda"``.
        large: pixels of the large image.
        photo: pixels of the JPEG photographs.
    """

    backbone: str = "vit_base_patch16_384"
    image_size: int = 512
    batch: int = 16
    rounds: int = 9
    device: str = "cpu"
    large: int = 2048
    photo: int = 2048

    def config(self, **changes: Any) -> FPTConfig:
        """The network's configuration; SPEC defaults but for the random backbone, and no dropout, so that both sides can be
        compared number by number.
        """
        fields: dict[str, Any] = {
            "backbone": self.backbone,
            "backbone_weights": None,
            "image_size": self.image_size,
            "num_classes": 5,
            "norm_eps": 1e-12,
            "dropout": 0.0,
        }
        return FPTConfig(**(fields | changes))


class Case:
    """Ours and the plain network with equal weights, and a batch.

    Args:
        options: of the run.
        changes: fields of the configuration.
    """

    def __init__(self, options: Options, **changes: Any) -> None:
        torch.manual_seed(0)
        self.model = FPTClassifier(options.config(**changes)).train()
        with torch.no_grad():  # prompts of 1e-6 would hide errors
            self.model.fusion.prompts.normal_(std=0.02)
        self.plain = PlainFPT(self.model).train()
        shape = self.model.backbone.feature_shape
        self.model.to(options.device), self.plain.to(options.device)
        self.model.backbone.to("cpu")  # training does not need it
        self.features = torch.randn(options.batch, *shape).half().float().to(options.device)
        side = self.model.side_size
        self.image = torch.randn(options.batch, 3, side, side, device=options.device)
        self.labels = torch.randint(5, (options.batch,), device=options.device)
        self.keys, self.values = (self.features[:, :, i].contiguous() for i in (0, 1))

    def stored(self, dtype: str) -> Any:
        """The batch's features as a cache keeps them."""
        if dtype == "int8":
            return quantize(self.features)
        return self.features.to(getattr(torch, dtype))

    def loss(self, features: Any) -> Tensor:
        return torch.nn.functional.cross_entropy(self.model(self.image, features), self.labels)

    def plain_loss(self) -> Tensor:
        return torch.nn.functional.cross_entropy(self.plain(self.image, self.keys, self.values), self.labels)

    def largest_gradient_difference(self, features: Any) -> tuple[float, float]:
        """Difference of the losses, and the largest of the gradients relative to the largest gradient of its tensor."""
        for module in (self.model, self.plain):
            module.zero_grad(set_to_none=True)
        ours, theirs = self.loss(features), self.plain_loss()
        ours.backward()  # type: ignore[no-untyped-call]
        theirs.backward()  # type: ignore[no-untyped-call]
        own = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        largest = max(
            float((own[n] - p.grad).abs().max() / p.grad.abs().max().clamp_min(1e-6))
            for n, p in self.plain.named_parameters()
            if p.grad is not None
        )
        return float((ours - theirs).detach().abs()), largest
