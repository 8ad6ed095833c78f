"""Which image is worth a reader's time next: pure functions of numbers, without files, server or network state.

Decisions:

- Images are compared by what the frozen backbone saw of them (:meth:`StudyFeatures.tokens
  <monai_fpt.monailabel.features.StudyFeatures.tokens>`), which stays as it is when the adapter learns.
- Before there is anything to be uncertain about, images are chosen by **k-centre greedy** (Sener and Savarese, 2018): the
  next is the one farthest from all that were taken, so a handful of labels covers the pool.
- Then uncertainty decides, **with a diversity term**: alone it asks for many copies of one hard case. Both are brought to
  [0, 1] by rank first, since entropy (nats), margin and distance have no common scale.
- **BALD** (Houlsby et al., 2011) needs several opinions; they come from the dropout on the fused prompts that the network
  was trained with. Everything before that dropout is the same in every pass and computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_fpt.networks import CachedFeatures, FPTClassifier

__all__ = [
    "UNCERTAINTIES",
    "UncertaintyName",
    "bald_uncertainty",
    "dropout_passes",
    "entropy_uncertainty",
    "k_centre_greedy",
    "margin_uncertainty",
    "most_informative",
    "uncertainty_of",
]

FloatArray = npt.NDArray[np.float64]
UncertaintyName = Literal["bald", "entropy", "margin"]
UNCERTAINTIES: tuple[str, ...] = get_args(UncertaintyName)


def k_centre_greedy(points: npt.ArrayLike, taken: Sequence[int], count: int) -> list[int]:
    """Choose rows, each the farthest from all that are taken by then.

    Args:
        points: (N, C).
        taken: rows that are covered already, as those with a label; without any, the row nearest to the mean is first.
        count: how many to choose.

    Returns:
        At most ``count`` rows, none of them taken, in the order they were chosen; of equals the first row.

    Example:
        >>> k_centre_greedy([[0.0], [1.0], [5.0], [9.0]], taken=[0], count=2)
        [3, 2]
    """
    matrix = _points(points)
    chosen: list[int] = []
    free = np.ones(len(matrix), dtype=bool)
    free[list(taken)] = False
    distance = _distance_to_nearest(matrix, taken)
    while len(chosen) < count and free.any():
        if np.isinf(distance).all():
            row = int(np.argmin(np.where(free, np.linalg.norm(matrix - matrix.mean(axis=0), axis=1), np.inf)))
        else:
            row = int(np.argmax(np.where(free, distance, -np.inf)))
        chosen.append(row)
        free[row] = False
        distance = np.minimum(distance, np.linalg.norm(matrix - matrix[row], axis=1))
    return chosen


def entropy_uncertainty(probabilities: npt.ArrayLike, *, task: str = "multiclass") -> FloatArray:
    """Entropy in nats: of the classes, or the mean over several labels.

    Args:
        probabilities: (N, K) in [0, 1].
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        (N,), from 0 (certain) to log K, or log 2 for several labels.

    Example:
        >>> entropy_uncertainty([[0.5, 0.5], [1.0, 0.0]]).round(4).tolist()
        [0.6931, 0.0]
    """
    p = _probabilities(probabilities, task)
    return np.asarray((_plogp(p) + _plogp(1 - p)).mean(axis=-1) if task == "multilabel" else _plogp(p).sum(axis=-1))


def margin_uncertainty(probabilities: npt.ArrayLike, *, task: str = "multiclass") -> FloatArray:
    """One minus the margin between the two likeliest classes; of several labels that of the least decided one.

    Args:
        probabilities: (N, K) in [0, 1].
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        (N,), from 0 (certain) to 1.

    Example:
        >>> margin_uncertainty([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0]]).round(4).tolist()
        [0.7, 0.0]
    """
    p = _probabilities(probabilities, task)
    if task == "multilabel":
        return np.asarray((1 - np.abs(2 * p - 1)).max(axis=-1))
    if p.shape[1] < 2:
        return np.zeros(len(p))
    least = np.sort(p, axis=-1)
    return np.asarray(1 - (least[:, -1] - least[:, -2]))


def bald_uncertainty(passes: npt.ArrayLike, *, task: str = "multiclass") -> FloatArray:
    """How much the passes disagree: entropy of their mean minus the mean of their entropies.

    Args:
        passes: (T, N, K) probabilities of T passes with dropout.
        task: ``"multiclass"`` or ``"multilabel"``.

    Returns:
        (N,) in nats, 0 where all passes say the same.

    Raises:
        ValueError: no passes.

    Example:
        >>> bald_uncertainty([[[1.0, 0.0]], [[0.0, 1.0]]]).round(4).tolist()
        [0.6931]
    """
    all_passes = np.asarray(passes, dtype=np.float64)
    if all_passes.ndim != 3 or not len(all_passes):
        raise ValueError(
            f"bald: passes of shape {all_passes.shape} are not (passes, images, classes); give at least one."
        )
    within = np.mean([entropy_uncertainty(one, task=task) for one in all_passes], axis=0)
    return np.asarray(np.maximum(entropy_uncertainty(all_passes.mean(axis=0), task=task) - within, 0))


def uncertainty_of(name: str) -> Callable[..., FloatArray]:
    """``entropy_uncertainty`` or ``margin_uncertainty`` by name.

    Raises:
        ValueError: another name.
    """
    known: dict[str, Callable[..., FloatArray]] = {"entropy": entropy_uncertainty, "margin": margin_uncertainty}
    if name not in known:
        raise ValueError(f"The uncertainty {name!r} is not one of {', '.join(UNCERTAINTIES)}.")
    return known[name]


def most_informative(
    uncertainty: npt.ArrayLike, points: npt.ArrayLike, taken: Sequence[int], count: int, diversity: float = 0.5
) -> list[int]:
    """Choose rows that are uncertain and unlike what was taken.

    The score of a free row is ``(1 - diversity) * u + diversity * d``: u its rank by uncertainty, d its rank by distance to
    the nearest row that is taken by then, both in [0, 1] among the free rows.

    Args:
        uncertainty: (N,), larger is less certain.
        points: (N, C) pooled features.
        taken: rows with a label, or in the hands of a reader.
        count: how many to choose.
        diversity: weight of the distance, 0 to 1; 0 is uncertainty alone, 1 k-centre.

    Returns:
        At most ``count`` rows, none of them taken, best first.

    Raises:
        ValueError: lengths that differ, or ``diversity`` beyond its range.

    Example:
        >>> most_informative([0.9, 0.9, 0.8, 0.1], [[0.0], [0.1], [5.0], [4.0]], taken=[0], count=1)
        [2]
    """
    matrix, doubt = _points(points), np.asarray(uncertainty, dtype=np.float64)
    if doubt.shape != (len(matrix),) or not 0 <= diversity <= 1:
        raise ValueError(
            f"most_informative: {doubt.shape} uncertainties for {len(matrix)} images, diversity {diversity}; give one number an image "
            "and a weight from 0 to 1."
        )
    free = np.ones(len(matrix), dtype=bool)
    free[list(taken)] = False
    distance = _distance_to_nearest(matrix, taken)
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        rows = np.flatnonzero(free)
        apart = _ranks(distance[rows]) if np.isfinite(distance[rows]).all() else np.zeros(len(rows))
        row = int(rows[np.argmax((1 - diversity) * _ranks(doubt[rows]) + diversity * apart)])
        chosen.append(row)
        free[row] = False
        distance = np.minimum(distance, np.linalg.norm(matrix - matrix[row], axis=1))
    return chosen


@torch.no_grad()
def dropout_passes(
    network: FPTClassifier, images: Tensor, features: CachedFeatures, passes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Ask a network once for sure and ``passes`` times with the dropout it was trained with.

    Args:
        network: in eval mode.
        images: (B, 3, side, side), normalised.
        features: (B, L, 2, H, M, D) of the same images.
        passes: T; 0 gives an empty second result.
        generator: of the dropped elements, on the CPU.

    Returns:
        Logits (B, K), and logits of the passes (T, B, K).
    """
    fused: Tensor = network.fusion(features)  # its last step is the dropout, which does nothing in eval mode
    sure: Tensor = network.side(images, fused)
    kept = 1.0 - network.config.dropout
    drawn = []
    for _ in range(passes):
        mask = torch.empty(fused.shape).bernoulli_(kept, generator=generator).to(fused)
        drawn.append(network.side(images, fused * mask / kept))
    return sure, torch.stack(drawn) if drawn else sure.new_empty(0, *sure.shape)


def _points(points: npt.ArrayLike) -> FloatArray:
    matrix = np.asarray(points, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"Pooled features of shape {matrix.shape} are not finite (images, width); compute them anew.")
    return matrix


def _distance_to_nearest(matrix: FloatArray, taken: Sequence[int]) -> FloatArray:
    """(N,) Euclidean; infinite where nothing is taken."""
    nearest = np.full(len(matrix), np.inf)
    squares = (matrix**2).sum(axis=1)
    for start in range(0, len(taken), 512):  # one matrix product for many: thousands of labels in a moment
        others = list(taken[start : start + 512])
        squared = squares[:, None] + squares[others] - 2 * matrix @ matrix[others].T
        nearest = np.minimum(nearest, squared.min(axis=1))
    return np.asarray(np.sqrt(np.maximum(nearest, 0)))


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks in [0, 1], equal values alike."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(middle[inverse.reshape(-1)] / max(len(values) - 1, 1))


def _plogp(p: FloatArray) -> FloatArray:
    return np.asarray(-p * np.log(np.where(p > 0, p, 1.0)))


def _probabilities(values: npt.ArrayLike, task: str) -> FloatArray:
    p: Any = np.asarray(values, dtype=np.float64)
    if task not in ("multiclass", "multilabel"):
        raise ValueError(f'task={task!r} is not one of "multiclass", "multilabel".')
    if (
        p.ndim != 2
        or not ((p >= 0) & (p <= 1 + 1e-9)).all()
        or (task == "multiclass" and len(p) and not np.allclose(p.sum(axis=1), 1, atol=1e-4))
    ):
        raise ValueError(
            f"Numbers of shape {p.shape} are no probabilities (images, classes); apply softmax or sigmoid first."
        )
    return np.asarray(p)
