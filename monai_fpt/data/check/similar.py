"""Near duplicates: the same picture recompressed, resized or brightened, found among many without missing one.

Two looks (32 x 32 grey) are compared by the correlation of their **local contrast**: each value less its surroundings' mean,
divided by its surroundings' spread. What all images of a set share, the disc of a fundus photograph or the outline of a
chest, then counts no more than the detail in it. And the looks must correlate in **every part** but one of sixteen, so that
different pictures in one broad frame are not taken for copies.

Measured on dermoscopy photographs, chest X-rays and fundus photographs turned so that their discs coincide: different
pictures correlate up to 0.75, in one frame up to 0.96 but then at most 0.66 in two parts; copies recompressed (JPEG quality
30), resized to a half, or of other brightness, contrast and gamma at least 0.91, and 0.82 in all parts but one, except for a
few that are blown out. Crops, turns and mirror images are not found.

All pairs are compared, by matrix products. Perceptual hashes in bands were not taken: images of one kind share so many low
frequencies that their bands collide by the thousand. The looks are projected on their first principal directions
instead; a projection never lengthens a distance, so what is far apart there needs no second look, and nothing that
is near is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["LEAST_CORRELATION", "LEAST_IN_PARTS", "local_contrast", "similar_sets"]

LEAST_CORRELATION = 0.9
LEAST_IN_PARTS = 0.75
_PARTS = 4  # a side
_LEAST_SPREAD = 4.0  # grey levels of 255: a part that is flatter in both is not compared
_WINDOW = 5
_FLOOR = 8.0  # grey levels of 255: weaker contrast is taken for noise
_DIRECTIONS = 64
_SAMPLE = 4096  # looks that the directions are taken from
_ROWS = 1024  # of one matrix product
_PAIRS = 16384  # compared in full at a time
_MOST_EDGES = 1_000_000  # held before they are merged

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.int64]


def local_contrast(looks: npt.NDArray[np.uint8]) -> _Floats:
    """Vectors whose products are the correlations of local contrast.

    Args:
        looks: (N, 32, 32) grey.

    Returns:
        (N, 1024) of length 1; zeros for a look without contrast.
    """
    values = looks.astype(np.float32)
    size = (1, _WINDOW, _WINDOW)
    detail = values - uniform_filter(values, size=size, mode="nearest")
    spread = np.sqrt(uniform_filter(np.square(detail), size=size, mode="nearest").clip(min=0))
    vectors = (detail / (spread + np.float32(_FLOOR))).reshape(len(looks), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: _Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def similar_sets(looks: npt.NDArray[np.uint8], apart: Sequence[str]) -> list[list[int]]:
    """Sets of images that are nearly the same picture.

    Args:
        looks: (N, 32, 32) grey.
        apart: N names; images of one name are not compared with each other (exact copies, slices of one volume).

    Returns:
        Indices of two or more looks each, sorted. In a set, every image is joined to every other by a chain of pairs.
    """
    number = len(looks)
    if number < 2:
        return []
    contrast = np.concatenate([local_contrast(looks[i : i + _ROWS]) for i in range(0, number, _ROWS)])
    _, names = np.unique(np.asarray(apart), return_inverse=True)
    usable = np.square(contrast).sum(axis=1) > 0
    left, right = _augmented(contrast)
    first, second = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, number, _ROWS):
        # -|a - b|^2 / 2 of the projections, for all b not before a
        nearness = left[start : start + _ROWS] @ right[start:].T
        rows, columns = np.nonzero(nearness >= LEAST_CORRELATION - 1 - 1e-4)
        rows, columns = rows + start, columns + start
        keep = (rows < columns) & (names[rows] != names[columns]) & usable[rows] & usable[columns]
        rows, columns = _verified(looks, contrast, rows[keep], columns[keep])
        first, second = np.concatenate([first, rows]), np.concatenate([second, columns])
        if len(first) > _MOST_EDGES:
            first, second = _merged(first, second, number)
    return _sets(first, second, number)


def _augmented(contrast: _Floats) -> tuple[_Floats, _Floats]:
    """Projections (N, D + 2) whose products are -|a - b|^2 / 2."""
    step = max(1, len(contrast) // _SAMPLE)
    sample = contrast[::step]
    _, directions = np.linalg.eigh(sample.T @ sample)
    projected = contrast @ directions[:, -_DIRECTIONS:]
    half = np.square(projected).sum(axis=1, keepdims=True) / 2
    one = np.ones_like(half)
    return np.hstack([projected, -half, one]), np.hstack([projected, one, -half])


def _verified(
    looks: npt.NDArray[np.uint8], contrast: _Floats, rows: _Indices, columns: _Indices
) -> tuple[_Indices, _Indices]:
    """The pairs that correlate enough in full and in their parts."""
    near = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _PAIRS):
        some = np.arange(start, min(start + _PAIRS, len(rows)))
        whole = np.einsum("ij,ij->i", contrast[rows[some]], contrast[columns[some]])
        some = some[whole >= LEAST_CORRELATION]
        near[some] = _alike_in_parts(looks[rows[some]], looks[columns[some]])
    return rows[near], columns[near]


def _alike_in_parts(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether looks (P, 32, 32) correlate in all their parts but one."""
    a, b = _in_parts(first), _in_parts(second)
    spread_a, spread_b = a.std(axis=2), b.std(axis=2)
    correlation = (a * b).mean(axis=2) / np.maximum(spread_a * spread_b, 1e-6)
    correlation[np.maximum(spread_a, spread_b) <= _LEAST_SPREAD] = 1
    alike: npt.NDArray[np.bool_] = (correlation < LEAST_IN_PARTS).sum(axis=1) <= 1
    return alike


def _in_parts(looks: npt.NDArray[np.uint8]) -> _Floats:
    """(P, 16, 64) values of the parts about their means."""
    number, side = len(looks), looks.shape[1] // _PARTS
    parts = looks.astype(np.float32).reshape(number, _PARTS, side, _PARTS, side).swapaxes(2, 3)
    values = parts.reshape(number, _PARTS**2, side**2)
    about_mean: _Floats = values - values.mean(axis=2, keepdims=True)
    return about_mean


def _components(first: _Indices, second: _Indices, number: int) -> npt.NDArray[np.int32]:
    edges = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(number, number))
    _, component = connected_components(edges, directed=False)
    names: npt.NDArray[np.int32] = component
    return names


def _merged(first: _Indices, second: _Indices, number: int) -> tuple[_Indices, _Indices]:
    """The same sets with one edge an image: to the first image of its set."""
    component = _components(first, second, number)
    _, heads, inverse = np.unique(component, return_index=True, return_inverse=True)
    everyone = np.arange(number)
    other = heads[inverse] != everyone
    return heads[inverse][other], everyone[other]


def _sets(first: _Indices, second: _Indices, number: int) -> list[list[int]]:
    component = _components(first, second, number)
    members: dict[int, list[int]] = {}
    for index in np.unique(np.concatenate([first, second])).tolist():
        members.setdefault(int(component[index]), []).append(index)
    return sorted(members.values())
