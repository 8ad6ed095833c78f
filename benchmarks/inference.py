"""One image, from its pixels to probabilities, without a cache: frozen backbone, side image, side network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cases import Options
from benchmarks.measure import Row, interleaved
from benchmarks.plain_fpt import PlainFPT, plain_encoder
from monai_fpt.networks import FPTClassifier

__all__ = ["measure"]


def measure(options: Options) -> list[Row]:
    model = FPTClassifier(options.config()).eval().to(options.device)
    encoder, network = plain_encoder(model).to(options.device), PlainFPT(model).eval().to(options.device)
    image = torch.rand(1, 3, options.image_size, options.image_size, device=options.device) * 2 - 1

    def plain() -> Tensor:
        keys, values, _ = encoder(image)
        side = F.interpolate(image, size=(model.side_size,) * 2, mode="bilinear", antialias=True)
        with torch.no_grad():
            return network(side, keys.transpose(0, 1), values.transpose(0, 1)).softmax(dim=1)

    @torch.inference_mode()
    def ours() -> Tensor:
        return model(image).softmax(dim=1)

    seconds = interleaved({"plain": plain, "ours": ours}, max(3, options.rounds // 2), options.device)
    ratio = seconds["plain"] / seconds["ours"]
    return [
        Row(
            "inference, one image, float32",
            seconds["ours"] * 1e3,
            "ms",
            seconds["plain"] * 1e3,
            ratio,
            ">= 1.5 x",
            ratio >= 1.5,
        )
    ]
