"""The tap of a frozen backbone: a torch-function mode that sees query, key and value of each block, and leaves the forward pass behind the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from monai_fpt.networks._recording import is_recorded
from monai_fpt.networks.importance import attend

__all__ = ["Tap", "Tapped", "announced", "unsupported"]


# oneDNN's product, which torch.compile calls too
_ONEDNN: bool = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


class Tapped(Exception):
    """Raised inside the trunk's forward when the last tapped block has been read."""


class Tap(TorchFunctionMode):
    """Sees the attention of each block while it is active; ``block`` is set by the trunk's own forward pre-hooks."""

    def __init__(
        self, blocks: Collection[int], read: Callable[[int, Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.read = read
        self.block = -1
        self.calls_in_block = 0

    def enter(self, block: int) -> None:
        if block > 0 and block - 1 in self.blocks and self.calls_in_block != 1:
            raise unsupported(f"block {block - 1} made {self.calls_in_block} attention calls instead of one")
        self.block, self.calls_in_block = block, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            return linear(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        self.calls_in_block += 1
        return self._attend(*args, **kwargs)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        of_all = not is_causal and not enable_gqa
        if self.block in self.blocks:
            if not of_all or self.calls_in_block != 1:
                raise unsupported("its attention is causal, grouped or split in several calls per block")
            return self.read(self.block, query, key, value, attn_mask, scale or 1 / math.sqrt(query.shape[-1]))
        if of_all and query.ndim == 4 and query.shape == value.shape:
            return attend(query, key, value, attn_mask, scale or 1 / math.sqrt(query.shape[-1]))
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` without gradients; in float32 on a CPU by oneDNN, whose product is a tenth faster there than MKL's on processors that are not
    Intel's, and equal to rounding.
    """
    plain = input.device.type == "cpu" and input.dtype == weight.dtype == torch.float32
    if plain and _ONEDNN and not torch.is_autocast_enabled("cpu") and not is_recorded():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
        return product
    return F.linear(input, weight, bias)


def unsupported(why: str) -> ValueError:
    return ValueError(
        f"This backbone is not a plain ViT: {why}. FPT needs global self-attention over all tokens in every tapped block; choose a plain "
        f"ViT of timm (ViT, DeiT, DINO, DINOv2/v3, EVA-02, BEiTv2, CLIP, SigLIP, MAE, ...)."
    )


@contextmanager
def announced(trunk: Any, tap: Tap) -> Iterator[Tap]:
    """Tell the tap which block is running, for the time of one forward pass."""

    def announce(index: int) -> Callable[[nn.Module, Any], None]:
        return lambda module, args: tap.enter(index)

    handles = [block.register_forward_pre_hook(announce(i)) for i, block in enumerate(trunk.blocks)]
    try:
        yield tap
    finally:
        for handle in handles:
            handle.remove()
