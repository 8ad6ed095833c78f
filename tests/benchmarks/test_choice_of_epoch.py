"""The rules that keep an epoch choose what they say, by the validation section alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.choice_of_epoch import RULES, table

LABELS = [0, 0, 1, 1]
EPOCHS = np.array(
    [
        [0.0, 3.0, 1.0, 2.0],  # AUC 0.5
        [-9.0, -8.0, -7.0, -6.0],  # 1, and a large loss
        [-1.0, 2.0, 1.0, 3.0],  # 0.75
        [-2.0, 1.0, 2.0, 3.0],  # 1, and the least loss
        [-1.0, 3.0, 2.0, 1.0],  # 0.5
    ]
)


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("best validation AUC", [0, 1, 0, 0, 0]),
        ("least validation loss", [0, 0, 0, 1, 0]),
        ("last epoch", [0, 0, 0, 0, 1]),
        ("mean of the last half", [0, 0, 1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_a_rule_weighs_the_epochs(rule: str, weights: list[float]) -> None:
    np.testing.assert_allclose(RULES[rule](EPOCHS, LABELS), weights)


def test_the_table_tells_the_test_section_of_what_validation_chose() -> None:
    test = np.stack([EPOCHS[::-1]] * 4)  # the last epoch there has an AUC of 0.5, the second of 1
    found = {"validation": (np.stack([EPOCHS] * 4), LABELS), "test": (test, LABELS)}
    rows = dict(row.strip("| ").split(" | ", 1) for row in table(found).splitlines()[2:])
    assert rows["best validation AUC"] == "1.000 (0.000), 1.000 | 1.000 (0.000), 1.000"
    assert rows["last epoch"].startswith("0.500 (0.000), 0.500")
