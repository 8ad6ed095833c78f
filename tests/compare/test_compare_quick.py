"""The quickstart's drawn images through the whole harness, and through it with labels that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_fpt.compare import run_comparison, run_quick_comparison
from monai_fpt.compare.quick import QUICK_ARMS, quick_overrides


@pytest.mark.slow
def test_the_quick_comparison_gives_a_page_and_dealt_labels_give_chance(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    found = run_quick_comparison(tmp_path, quiet=True)
    assert [row.name for row in found.rows] == list(QUICK_ARMS)
    assert (tmp_path / "comparison" / "compare.html").is_file()
    assert found.row("logistic_regression").auc.low > 0.5  # the backbone was made for these details
    overrides = quick_overrides(tmp_path) | {"run_dir": str(tmp_path / "dealt"), "track": False}
    dealt = run_comparison(
        overrides, arms=("knn", "logistic_regression"), seeds=range(8), shuffle_labels=True, quiet=True
    )
    assert all(row.auc.low < 0.5 < row.auc.high for row in dealt.rows)
    assert "holds 0.5" in str(dealt)
