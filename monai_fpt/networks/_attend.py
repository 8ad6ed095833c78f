"""Attention of learned prompts to stored keys and values, in little memory and without waste.

The queries are the same for all images, the keys and values are given and learn nothing. So:

- Of the backward pass only the gradient of the queries is computed. Autograd would fill gradients of keys and values as
  large as the whole batch, and throw them away.
- Kept for it are the queries, the features as they are stored and, unless they shall be made again, the probabilities.
  Never a float32 copy of 16-bit features: making that alone would take longer than everything else in a training step.
- Features are cast piece by piece, a piece that stays in a processor's cache (or, on an accelerator, is small beside
  the batch), so that storing 16 or 8 bits costs no time.
- The scales of int8 features fold into queries and outputs, ``q . (s * k) == (q * s) . k``; they are never applied to
  keys and values themselves.
- Compilers and exporters get the same attention as one plain call: they plan memory by themselves. So does who asks for
  gradients of the features.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_fpt.networks._recording import is_recorded

__all__ = ["attend_to_stored"]

# Numbers of keys that are cast at a time.
_PIECE = {"cpu": 2**18}
_PIECE_ELSEWHERE = 2**23


def attend_to_stored(queries: Tensor, stored: Tensor, scales: Tensor | None, recompute: bool = False) -> Tensor:
    """Attention of the queries of each block to its keys and values, scaled by 1 / sqrt(D).

    Args:
        queries: (L, H, P, D); their dtype, or autocast's, is computed in.
        stored: (B, L, 2, H, M, D) of any dtype, keys and values.
        scales: (B, L, 2, H, D) factors of int8 codes, or None.
        recompute: make the probabilities, 4 * B * L * H * P * M bytes, again in the backward pass instead of keeping
            them.

    Returns:
        (B, L, H, P, D).
    """
    kind = queries.device.type
    if torch.is_autocast_enabled(kind):
        queries = queries.to(torch.get_autocast_dtype(kind))
    with torch.autocast(kind, enabled=False):
        if is_recorded() or stored.requires_grad:
            return _attend_plainly(queries, stored, scales)
        keep = queries.requires_grad and torch.is_grad_enabled() and not recompute
        attended: Tensor = _Attend.apply(queries, stored, scales, keep)[0]  # type: ignore[no-untyped-call]
        return attended


def _attend_plainly(queries: Tensor, stored: Tensor, scales: Tensor | None) -> Tensor:
    batch, blocks = stored.shape[:2]
    q = queries.expand(batch, *queries.shape)
    if scales is not None:
        q = q * scales[:, :, 0].unsqueeze(-2).to(q.dtype)
    keys, values = (stored[:, :, i].flatten(0, 1).to(q.dtype) for i in (0, 1))
    output: Tensor = F.scaled_dot_product_attention(q.flatten(0, 1), keys, values)
    output = output.unflatten(0, (batch, blocks))  # type: ignore[no-untyped-call]
    return output if scales is None else output * scales[:, :, 1].unsqueeze(-2).to(output.dtype)


class _Attend(torch.autograd.Function):
    """Rows are the B * L pairs of an image and a block; a piece is some of them. Products are asked for with tokens as
    rows, (M, D) by (D, P): a fifth faster on CPUs than the other way.
    """

    generate_vmap_rule = True  # several networks on one batch of features

    @staticmethod
    def forward(queries: Tensor, stored: Tensor, scales: Tensor | None, keep: bool) -> tuple[Tensor, ...]:
        rows, asked = stored.flatten(0, 1), _per_row(queries, stored, scales)
        outputs, kept = [], []
        for piece in _pieces(rows):
            probabilities = _probabilities(_cast(rows[piece, 0], asked), asked[piece])
            outputs.append(torch.bmm(_cast(rows[piece, 1], asked).mT, probabilities.to(asked.dtype)))
            kept += [probabilities] if keep else []
        output = torch.cat(outputs).view(*stored.shape[:2], *asked.shape[1:])  # (B, L, H, D, P)
        output = output if scales is None else output * _factors(scales, 1, asked)
        return output.mT, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        queries, stored, scales, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(queries, stored, scales, *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
        queries, stored, scales, *kept = ctx.saved_tensors
        rows, asked = stored.flatten(0, 1), _per_row(queries, stored, scales)
        given = gradient.mT if scales is None else gradient.mT * _factors(scales, 1, asked)
        given = given.flatten(0, 1)
        gradients = []
        for index, piece in enumerate(_pieces(rows)):
            weighted = torch.bmm(_cast(rows[piece, 1], asked), given[piece].flatten(0, 1))
            keys = _cast(rows[piece, 0], asked)
            probabilities = kept[index] if kept else _probabilities(keys, asked[piece])
            of_scores = torch.ops.aten._softmax_backward_data(
                weighted.to(probabilities.dtype), probabilities, 1, probabilities.dtype
            )
            gradients.append(torch.bmm(keys.mT, of_scores.to(asked.dtype)))
        of_queries: Tensor = torch.cat(gradients).view(*stored.shape[:2], *asked.shape[1:])  # (B, L, H, D, P)
        if scales is not None:
            of_queries = of_queries * _factors(scales, 0, asked)
        of_queries = of_queries.sum(dim=0).mT * asked.shape[-2] ** -0.5
        return of_queries, None, None, None


def _per_row(queries: Tensor, stored: Tensor, scales: Tensor | None) -> Tensor:
    """Scaled queries of every row, (B * L, H, D, P)."""
    asked = (queries * queries.shape[-1] ** -0.5).mT.expand(stored.shape[0], -1, -1, -1, -1)
    per_row: Tensor = (asked if scales is None else asked * _factors(scales, 0, queries)).flatten(0, 1)
    return per_row


def _factors(scales: Tensor, which: int, like: Tensor) -> Tensor:
    """Those of the keys (0) or of the values (1), (B, L, H, D, 1)."""
    return scales[:, :, which].to(like.dtype).unsqueeze(-1)


def _cast(stored: Tensor, like: Tensor) -> Tensor:
    return stored.to(like.dtype).flatten(0, 1)


def _probabilities(keys: Tensor, asked: Tensor) -> Tensor:
    """(n, M, D) and (r, h, D, P), where n = r * h -> (n, M, P), float32 at least."""
    scores = torch.bmm(keys, asked.flatten(0, 1))
    return scores.softmax(dim=1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _pieces(rows: Tensor) -> list[slice]:
    step = max(1, _PIECE.get(rows.device.type, _PIECE_ELSEWHERE) // rows[0, 0].numel())
    return [slice(start, start + step) for start in range(0, len(rows), step)]
