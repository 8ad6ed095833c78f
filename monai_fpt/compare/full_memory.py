"""What full fine-tuning of the same backbone needs: the yardstick of the percentages and of both indices.

All of the timm model learns, as one would do it today: fused attention, bfloat16 autocast, one checkpoint a block, AdamW in float32, at
``image_size`` and the recipe's batch size. Bytes are counted in real forward passes of one and of two images and carried on to the batch
(what autograd keeps grows by the image); weights, gradients and AdamW's two moments are four float32 numbers a parameter. The paper's own
yardstick, float32 with attention maps kept, is several times larger, so that the shares here are larger and PME is smaller than there.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_fpt.experiments._write import write_json
from monai_fpt.networks import FPTConfig, FrozenViT
from monai_fpt.networks.counting import extrapolated, kept_bytes, learnable_parameters

__all__ = ["FPTFullTuning", "full_tuning_cost"]

_FILE = "full_fine_tuning.json"
_FORMAT = "monai_fpt full fine-tuning"


@dataclasses.dataclass(frozen=True)
class FPTFullTuning:
    """Cost of full fine-tuning.

    Attributes:
        parameters: of the backbone with a head of the classes at hand.
        training_bytes: of a step.
        batch_size: images of that step.
        image_size: their side in pixels.
    """

    parameters: int
    training_bytes: int
    batch_size: int
    image_size: int

    @property
    def words(self) -> str:
        """One sentence."""
        return (
            f"Full fine-tuning of the same backbone: {self.parameters:,} parameters and {self.training_bytes / 2**20:,.0f} MiB a step of "
            f"{self.batch_size} images of {self.image_size} px, counted in real forward passes with fused attention, bfloat16, a checkpoint a "
            "block and AdamW in float32."
        )


def full_tuning_cost(config: FPTConfig, depth: int, batch_size: int, folder: Path) -> FPTFullTuning:
    """Count, or read what was counted in this folder before.

    Args:
        config: names backbone, image size and classes.
        depth: blocks of the backbone.
        batch_size: of the recipe.
        folder: keeps the numbers.
    """
    asked = {
        "backbone": config.backbone,
        "backbone_kwargs": dict(config.backbone_kwargs),
        "num_classes": config.num_classes,
        "batch_size": batch_size,
        "image_size": config.image_size,
    }
    path = folder / _FILE
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") == _FORMAT and content.get("asked") == json.loads(json.dumps(asked)):
            return FPTFullTuning(**content["cost"])
    cost = _counted(config, depth, batch_size)
    write_json(path, {"format": _FORMAT, "asked": asked, "cost": dataclasses.asdict(cost)})
    return cost


def _counted(config: FPTConfig, depth: int, batch_size: int) -> FPTFullTuning:
    vit = FrozenViT(
        config.backbone,
        None,  # what the weights are changes no byte
        image_size=config.image_size,
        blocks=[depth - 1],
        num_tokens=1,
        create_kwargs=config.backbone_kwargs,
    )
    trunk: Any = vit.vit
    model = nn.Sequential(trunk, nn.Linear(vit.embed_dim, config.num_classes)).requires_grad_(True).train()
    trunk.set_grad_checkpointing()

    def kept(batch: int) -> int:
        image = torch.zeros(batch, 3, config.image_size, config.image_size)

        def forward() -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits: Tensor = model(image)
            return logits.float().logsumexp(1).sum()

        return kept_bytes(forward, model, [image]) + image.nbytes

    parameters = learnable_parameters(model)
    state = 4 * 4 * parameters  # weights, gradients, two moments, float32
    total = state + extrapolated(kept(1), kept(2), batch_size)
    return FPTFullTuning(parameters, total, batch_size, config.image_size)
