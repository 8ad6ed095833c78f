"""Networks are put together from a pool as they would answer, and their spread is that of networks of other seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.mixture import aucs, drawn, table, variance

LABELS = np.array([0, 0, 1, 1])
RIGHT = np.array([-2.0, -1.0, 1.0, 2.0])
WRONG = -RIGHT


def test_the_auc_of_many_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, scores = np.arange(30) % 3 // 2, rng.normal(size=(5, 30)).round(1)  # with ties
    np.testing.assert_allclose(aucs(labels, scores), [roc_auc_score(labels, one) for one in scores], rtol=0, atol=1e-12)


def test_every_way_is_one_network_that_answers_with_the_mean() -> None:
    side, linear = np.stack([RIGHT, WRONG]), np.stack([3 * RIGHT, 3 * RIGHT])
    assert drawn(side, linear, LABELS, 1, 0).tolist() == [[1], [0]]
    assert drawn(side, linear, LABELS, 1, 1).tolist() == [[1, 1], [1, 1]]
    assert drawn(side, linear, LABELS, 2, 0).tolist() == [[0.5]]  # they cancel out


@pytest.mark.parametrize(("a", "b"), [(1, 0), (1, 4), (2, 2), (0, 4)])
def test_the_spread_of_overlapping_ways_becomes_that_of_other_seeds(a: int, b: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2

    def members(count: int, noise: float) -> np.ndarray:
        return labels + noise * rng.normal(size=(count, 60))

    true = np.var([drawn(members(a, 3), members(b, 2), labels, a, b)[0, 0] for _ in range(1500)])
    told = [variance(drawn(members(4, 3), members(6, 2), labels, a, b), a / 4, b / 6) for _ in range(150)]
    assert np.mean(told) == pytest.approx(true, rel=0.15)


def test_nothing_is_said_of_the_spread_where_every_way_takes_all() -> None:
    assert math.isnan(variance(np.zeros((2, 1)), 0.5, 1.0))


def test_the_table_has_a_row_a_mixture_and_counts_its_seconds() -> None:
    side, linear = np.stack([RIGHT, WRONG, RIGHT]), np.stack([RIGHT, RIGHT])
    pools = {"side": ([(side, LABELS)] * 2, 8.0), "linear": ([(linear, LABELS)] * 2, 2.0)}
    rows = table(pools, ((1, 0), (0, 1), (1, 1), (3, 2), (4, 0))).splitlines()[2:]
    assert rows[0] == "| 1 | 0 | 0.667 | 0.577 | 0.889 | 1.00 |"
    assert rows[1] == "| 0 | 1 | 1.000 | 0.000 | 0.000 | 0.25 |"
    assert rows[2].endswith("| 1.25 |")
    assert (
        rows[3].startswith("| 3 | 2 |") and "| - | - |" in rows[3] and len(rows) == 4
    )  # a fourth side network there is not
