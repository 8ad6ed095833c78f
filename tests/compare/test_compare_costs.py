"""What an arm is charged for is what it needs: no features that it does not use, no decoding that all share, no time that is not known."""

from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from compare_toys import CONFIG, toy_overrides

from monai_fpt.compare import FPTArmComparison, run_comparison
from monai_fpt.compare.fillings import CacheFillings
from monai_fpt.compare.notes import notes_of
from monai_fpt.compare.tuning.images import FPTTuningImages
from monai_fpt.features import FeatureStore
from monai_fpt.networks import FPTClassifier


def test_an_arm_without_features_is_charged_for_none(compared: FPTArmComparison, token_cache: Path) -> None:
    fpt_plus, side_only = (compared.row(name).training_bytes or 0 for name in ("fpt_plus", "side_only"))
    features = 8 * math.prod(FeatureStore(token_cache).spec.feature_shape) * 2  # a batch in float16
    assert side_only <= fpt_plus - features


def test_one_zero_for_a_head_says_what_a_zero_for_every_token_says() -> None:
    """What that charge rests on."""
    network = FPTClassifier(CONFIG).eval()
    blocks, two, heads, tokens, width = network.backbone.feature_shape
    image = torch.rand(2, 3, CONFIG.side_size, CONFIG.side_size)
    answers = [network(image, torch.zeros(2, blocks, two, heads, count, width)) for count in (1, tokens)]
    assert tokens > 1 and torch.equal(*answers)


def test_images_are_decoded_on_no_tuning_arms_clock(
    toy_table: Path, token_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    write = FPTTuningImages._write

    def writing(self: FPTTuningImages, *args: Any) -> None:
        events.append("decoded")
        write(self, *args)

    def monotonic() -> float:
        events.append("clock")
        return float(len(events))

    monkeypatch.setattr(FPTTuningImages, "_write", writing)
    monkeypatch.setattr("monai_fpt.compare.direct.time", types.SimpleNamespace(monotonic=monotonic))
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all"}
    options = {name: {"max_epochs": 1} for name in ("bitfit", "last_block")}
    run_comparison(overrides, arms=list(options), seeds=[0], arm_options=options, bootstrap=100, quiet=True)
    assert events == [*["decoded"] * 3, *["clock"] * 4]


def test_a_training_that_was_stopped_and_went_on_has_no_seconds(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all", "max_epochs": 1}
    asked: dict[str, Any] = {"arms": "fpt_plus", "engine": "bundle", "bootstrap": 100, "quiet": True}
    run_comparison(overrides, seeds=[0], **asked)
    folder = tmp_path / "run" / "fpt_plus" / "seed_0"
    for name in ("training.json", "arm.json"):  # as a stop leaves it
        (folder / name).unlink()
    assert (folder / "last.pt").is_file()
    first, second = run_comparison(overrides, seeds=[0, 1], **asked).rows[0].runs
    assert math.isnan(first.seconds) and second.seconds > 0


def test_every_cache_that_was_filled_is_told(toy_table: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", tmp_path / "features") | {"max_epochs": 1}
    names = "fpt_plus,token_ratio_0.5,mirrored_views"
    found = run_comparison(overrides, arms=names, seeds=[0], bootstrap=100, quiet=True)
    told = {one["cache"]: one["images"] for one in found.extraction}
    assert told == {path.name: len(FeatureStore(path)) for path in tmp_path.glob("features*")} and len(told) == 3
    assert all(one["seconds"] > 0 for one in found.extraction)


def test_fillings_of_an_earlier_start_are_told_too(toy_table: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", tmp_path / "features") | {"max_epochs": 1}
    asked: dict[str, Any] = {"seeds": [0], "bootstrap": 100, "quiet": True}
    first = run_comparison(overrides, arms="fpt_plus", **asked)
    (tmp_path / "run" / "compare.json").unlink()  # as a later start that was stopped leaves it
    second = run_comparison(overrides, arms="fpt_plus,token_ratio_0.5", **asked)
    assert second.extraction[0] == first.extraction[0]
    assert len(second.extraction) == 2


def test_a_filling_that_was_broken_off_counts_together(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for images in (3, 2):
        fillings = CacheFillings()
        fillings.add("features", images, 1.5)
        fillings.keep_in(tmp_path / "run")
        fillings.add("features_1", images, 1.0)
    assert fillings.told() == [
        {"cache": "features", "images": 5, "seconds": 3.0},
        {"cache": "features_1", "images": 5, "seconds": 2.0},
    ]


def test_members_are_charged_for_batches_of_their_own_and_the_notes_say_so(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {
        "tokens": "all",
        "max_epochs": 1,
        "batch_size": 2,
    }
    arms = ("fpt_plus", "linear_member", "fpt_plus_stable")
    found = run_comparison(overrides, arms=arms, seeds=[0], bootstrap=100, quiet=True)
    side, linear, five = (found.row(name) for name in arms)
    assert [row.runs[0].chosen for row in (side, linear, five)] == [{"epoch": 1}, {"epoch": 1}, {}]
    assert five.learnable_parameters == side.learnable_parameters + 4 * linear.learnable_parameters
    alone = (side.training_bytes or 0) + 4 * (linear.training_bytes or 0)
    assert five.training_bytes == pytest.approx(alone, rel=0.01)  # the mean of their logits comes on top
    assert "A step has the recipe's 2 images but in fpt_plus_stable (10); bytes" in " ".join(notes_of(found))
