"""Networks are put together from a pool as they would answer: every way once, by the mean of the logits."""

from __future__ import annotations

import numpy as np

from benchmarks.mixture import drawn, table

LABELS = np.array([0, 0, 1, 1])
RIGHT = np.array([-2.0, -1.0, 1.0, 2.0])
WRONG = -RIGHT


def test_every_way_is_one_network_that_answers_with_the_mean() -> None:
    side, linear = np.stack([RIGHT, WRONG]), np.stack([3 * RIGHT, 3 * RIGHT])
    assert sorted(drawn(side, linear, LABELS, 1, 0)) == [0, 1]
    assert list(drawn(side, linear, LABELS, 1, 1)) == [1, 1, 1, 1]
    assert list(drawn(side, linear, LABELS, 2, 0)) == [0.5]  # they cancel out


def test_the_limit_draws_each_way_once_at_most() -> None:
    side = np.stack([RIGHT] * 7 + [WRONG])
    found = drawn(side, side, LABELS, 1, 1, limit=64)
    assert len(found) == 64
    assert len(drawn(side, side, LABELS, 1, 1, limit=10)) == 10


def test_the_table_has_a_row_a_mixture_and_counts_its_seconds() -> None:
    side, linear = np.stack([RIGHT, WRONG, RIGHT]), np.stack([RIGHT, RIGHT])
    pools = {"side": ([(side, LABELS)] * 2, 8.0), "linear": ([(linear, LABELS)] * 2, 2.0)}
    rows = table(pools, ((1, 0), (0, 1), (1, 1), (3, 2))).splitlines()[2:]
    assert rows[0].startswith("| 1 | 0 | 0.667 | 0.577 |") and rows[0].endswith("| 1.00 |")
    assert rows[1] == "| 0 | 1 | 1.000 | 0.000 | 0.000 | 0.25 |"
    assert rows[2].endswith("| 1.25 |") and len(rows) == 3  # three and two can be put together in one way only
