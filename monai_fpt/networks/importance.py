"""Which tokens of a frozen block matter: pure functions on attention inputs.

Importance of token j in a head is a statistic of column j of the attention probabilities softmax(q k^T / sqrt(D)): the
mean over all queries (``global``) or the entry of the CLS query (``class_token``). The probabilities are made in chunks
of queries, so that memory grows with N and not with N squared: at 2048 px and patch 16 one block of ViT-B would need 12
GiB, a chunk needs megabytes. The block's own output is made from the same probabilities, because computing them twice
would cost more than the fused kernel saves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_fpt.networks._recording import is_recorded

__all__ = [
    "Importance",
    "PrefixPolicy",
    "attend",
    "attend_and_weigh",
    "gather_tokens",
    "num_kept_tokens",
    "select_tokens",
    "weigh",
]

Importance = Literal["global", "class_token"]
PrefixPolicy = Literal["compete", "keep", "drop"]

# Probabilities at a time: on a CPU those of some queries of one head, which stay in its cache (a third faster than all
# heads at once), elsewhere, and in a traced network, which must not know the number of images, of all images and heads.
_CHUNK_ENTRIES = {"cpu": 2**18, "cuda": 2**26}
_LEAST_QUERIES = 64


def _by_head(q: Tensor) -> bool:
    return q.device.type == "cpu" and not is_recorded()


def _query_chunk(q: Tensor, k: Tensor) -> int:
    entries, least = _CHUNK_ENTRIES.get(q.device.type, 2**24), 1
    if q.device.type == "cpu":
        entries, least = (entries, _LEAST_QUERIES) if _by_head(q) else (2**22, 1)
    images = 1 if is_recorded() else q.shape[0]  # a recorded network reads any number of them
    return min(q.shape[2], max(least, entries // (images * q.shape[1] * k.shape[2])))


def _even(queries: int, step: int) -> int:
    """A step near the given one that leaves no small rest."""
    return math.ceil(queries / max(1, round(queries / step)))


def _probabilities(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)


def _rows(mask: Tensor | None, start: int, stop: int) -> Tensor | None:
    return mask if mask is None or mask.shape[-2] == 1 else mask[..., start:stop, :]


def attend_and_weigh(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Attention output and ``global`` importance from one pass over the probabilities.

    Args:
        q, k, v: (B, H, N, D) of one dtype.
        mask: additive or boolean mask broadcastable to (B, H, N, N), or None.
        scale: factor on q k^T, usually 1 / sqrt(D).

    Returns:
        output (B, H, N, D) and importance (B, H, N), which sums to 1 over N; importance is at least float32.
    """
    q, k, v = _as_computed(q), _as_computed(k), _as_computed(v)
    if not _by_head(q):
        return _attend_and_weigh(q, k, v, mask, scale)
    # written in place: small results kept between large passing ones make holes in the memory, at 2048 px of 700 MB
    output, importance = torch.empty_like(q), _no_importance(q, k)
    for b, h, rows, probabilities in _by_rows(q, k, mask, scale):
        output[b, h, rows] = probabilities @ v[b, h]
        importance[b, h] += probabilities.sum(dim=0, dtype=importance.dtype)
    return output, importance / q.shape[2]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attention output alone (B, H, N, D), by whichever of two ways is faster; arguments as in :func:`attend_and_weigh`.

    torch's fused kernel, but in bfloat16 on a CPU head by head, which takes two thirds of its time there.
    """
    q, k, v = _as_computed(q), _as_computed(k), _as_computed(v)
    if q.dtype != torch.bfloat16 or not _by_head(q):
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
    output = torch.empty_like(q)
    for b, h, rows, probabilities in _by_rows(q, k, mask, scale):
        output[b, h, rows] = probabilities @ v[b, h]
    return output


def _as_computed(tensor: Tensor) -> Tensor:
    """In the precision of the matrix products: under autocast its own, which a norm or rotation before may have left."""
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def _no_importance(q: Tensor, k: Tensor) -> Tensor:
    dtype = torch.promote_types(q.dtype, torch.float32)
    return torch.zeros(*q.shape[:2], k.shape[2], dtype=dtype, device=q.device)


def _by_rows(q: Tensor, k: Tensor, mask: Tensor | None, scale: float) -> Iterator[tuple[int, int, slice, Tensor]]:
    """Image, head, some queries, and their probabilities (queries, N) in the precision of q: autocast would widen them, which costs more than it is worth."""
    masks = None if mask is None else mask.expand(*q.shape[:2], *mask.shape[-2:])
    step = _even(q.shape[2], _query_chunk(q[:1, :1], k[:1, :1]))
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            queries, keys = q[b, h] * scale, k[b, h].contiguous()
            for start in range(0, q.shape[2], step):
                rows = slice(start, start + step)
                of_rows = None if masks is None else _rows(masks[b, h], start, start + step)
                with torch.autocast(q.device.type, enabled=False):
                    probabilities = _probabilities(queries[rows], keys, of_rows).to(q.dtype)
                yield b, h, rows, probabilities


def _attend_and_weigh(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    step = _query_chunk(q, k)
    outputs, importance = [], None
    for start in range(0, q.shape[2], step):
        probabilities = _probabilities(q[:, :, start : start + step] * scale, k, _rows(mask, start, start + step))
        outputs.append(probabilities @ v)
        column = probabilities.sum(dim=2, dtype=torch.promote_types(q.dtype, torch.float32))
        importance = column if importance is None else importance + column
    assert importance is not None  # there is always one query
    return torch.cat(outputs, dim=2), importance / q.shape[2]


def weigh(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, kind: Importance) -> Tensor:
    """Importance (B, H, N) without the attention output; arguments as in :func:`attend_and_weigh`.

    ``class_token`` reads one row of the probabilities, that of query 0.
    """
    if kind == "class_token":
        row = _probabilities(q[:, :, :1] * scale, k, _rows(mask, 0, 1))[:, :, 0]
        return row.to(torch.promote_types(q.dtype, torch.float32))
    q, k = _as_computed(q), _as_computed(k)
    importance = _no_importance(q, k)
    if _by_head(q):
        for b, h, _, probabilities in _by_rows(q, k, mask, scale):
            importance[b, h] += probabilities.sum(dim=0, dtype=importance.dtype)
    else:
        step = _query_chunk(q, k)
        for start in range(0, q.shape[2], step):
            probabilities = _probabilities(q[:, :, start : start + step] * scale, k, _rows(mask, start, start + step))
            importance += probabilities.sum(dim=2, dtype=importance.dtype)
    return importance / q.shape[2]


def num_kept_tokens(num_candidates: int, token_ratio: float | None, num_tokens: int | None) -> int:
    """How many of ``num_candidates`` tokens are kept per head: ``num_tokens``, or int(N * token_ratio) without its
    rounding fault.

    ``int(100 * 0.29)`` is 28 in floating point; here it is 29, and 205 of 1,025 at the paper's ratio of 0.2.

    Raises:
        ValueError: nothing would be kept, or more than there is.
    """
    kept = num_tokens if num_tokens is not None else math.floor(num_candidates * (token_ratio or 0.0) + 1e-6)
    if kept < 1:
        raise ValueError(
            f"token_ratio={token_ratio} keeps none of {num_candidates} tokens; raise token_ratio to at least "
            f"{1 / num_candidates:.4f} or give num_tokens."
        )
    if kept > num_candidates:
        raise ValueError(
            f"{kept} tokens were asked for but the backbone has only {num_candidates} to choose from at this image_size; "
            f"lower num_tokens or raise image_size."
        )
    return kept


def select_tokens(importance: Tensor, num_tokens: int, num_prefix: int, policy: PrefixPolicy) -> Tensor:
    """Indices of the most important tokens, by falling importance.

    Args:
        importance: (B, H, N).
        num_tokens: M, how many are kept in each head.
        num_prefix: how many tokens before the patches (CLS, registers).
        policy: ``compete`` (the paper): prefix tokens are tokens like any other; ``keep``: they are always among the M,
            in front; ``drop``: never.

    Returns:
        (B, H, M) int64.
    """
    if num_prefix and policy != "compete":
        importance = importance.clone()
        importance[..., :num_prefix] += math.inf if policy == "keep" else -math.inf
    return importance.topk(num_tokens, dim=-1, sorted=True).indices


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Pick (B, H, M, D) out of ``tokens`` (B, H, N, D) by ``indices`` (B, H, M)."""
    return tokens.gather(2, indices.unsqueeze(-1).expand(*indices.shape, tokens.shape[-1]))
