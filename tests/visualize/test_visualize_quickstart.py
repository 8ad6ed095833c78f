"""The claim of docs/visualize.md on one seed: the map of a trained model finds the sign, and the model depends on what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faithfulness import measure, trained_model


@pytest.mark.slow
def test_the_map_of_a_trained_model_finds_the_sign(tmp_path: Path) -> None:
    rows = measure(trained_model(tmp_path / "run", seed=3), seed=3, scenes=20, pictures=tmp_path)

    default, cam, chance = (
        rows[name] for name in ("integrated gradient x attention (default)", "GradCAM of the side network", "random")
    )
    pointing, pointing_one, inside, _, deletion, _, pixels = default
    assert pointing > 0.5 and pointing_one > 0.7
    assert max(cam[0], chance[0]) < 0.3
    assert max(cam[2], chance[2]) < 0.2
    assert inside > 2.5 * max(cam[2], chance[2])
    assert deletion < min(cam[4], chance[4]) - 0.3
    assert pixels < min(cam[6], chance[6]) - 0.1
    assert len(list(tmp_path.glob("*.png"))) == 4 * len(rows)
