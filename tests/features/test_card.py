"""FPTModelCard: what stands beside trained weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from feature_toys import CONFIG, Toy

from monai_fpt.features import FPTModelCard
from monai_fpt.networks import FPTConfig


def full(toy: Toy) -> FPTModelCard:
    return FPTModelCard(
        CONFIG, toy.spec(mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1)), ("gesund", "krank ü"), "multilabel", "abc"
    )


@pytest.mark.parametrize("filled", [True, False], ids=["trained", "untrained"])
def test_a_card_survives_its_file(filled: bool, toy: Toy, tmp_path: Path) -> None:
    card = full(toy) if filled else FPTModelCard(CONFIG)

    card.save(tmp_path / "run" / "model.json")

    assert FPTModelCard.load(tmp_path / "run" / "model.json") == card
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.json"]


def test_the_network_of_a_card_can_be_read_from_it(toy: Toy, tmp_path: Path) -> None:
    full(toy).save(tmp_path / "model.json")

    assert FPTConfig.load(tmp_path / "model.json") == CONFIG


def test_a_card_is_replaced_as_a_whole(toy: Toy, tmp_path: Path) -> None:
    FPTModelCard(CONFIG, classes=("a" * 10_000,)).save(tmp_path / "model.json")
    full(toy).save(tmp_path / "model.json")

    assert FPTModelCard.load(tmp_path / "model.json") == full(toy)


def test_without_a_card_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no trained model in .* \(no model.json\); train one first, or give its run_dir"
    ):
        FPTModelCard.load(tmp_path / "model.json")


def test_where_no_card_is_allowed_it_is_the_paper_s_untrained_network(tmp_path: Path) -> None:
    card = FPTModelCard.load(tmp_path / "model.json", missing_ok=True)

    assert card == FPTModelCard(FPTConfig(num_classes=2), classes=("class_0", "class_1"))


BROKEN: dict[str, Any] = {
    "no JSON": "{",
    "a list": "[]",
    "a number": "3",
    "nothing": "null",
    "another format": '{"format": "other"}',
    "a hole": '{"format": "monai_fpt model"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("missing_ok", [False, True], ids=["must be there", "may be missing"])
def test_a_broken_card_is_refused_and_never_taken_for_a_missing_one(
    content: str, missing_ok: bool, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text(content, encoding="utf-8")

    with pytest.raises(
        ValueError, match=r"model.json\" is no description of a trained model \(.*\); train again, or restore the file"
    ):
        FPTModelCard.load(tmp_path / "model.json", missing_ok=missing_ok)


def test_a_field_of_a_later_version_is_refused(toy: Toy, tmp_path: Path) -> None:
    full(toy).save(tmp_path / "model.json")
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8")) | {"threshold": 0.5}
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ValueError, match="threshold"):
        FPTModelCard.load(tmp_path / "model.json")


def test_a_trained_network_is_normalised_as_in_training_and_an_untrained_one_as_its_backbone(toy: Toy) -> None:
    assert full(toy).normalization((0.5,) * 3, (0.5,) * 3) == {"mean": (0.1, 0.2, 0.3), "std": (0.3, 0.2, 0.1)}
    assert FPTModelCard(CONFIG).normalization([0.4] * 3, [0.6] * 3) == {"mean": (0.4,) * 3, "std": (0.6,) * 3}


def test_a_network_that_learned_without_features_says_so_and_is_not_asked(toy: Toy, tmp_path: Path) -> None:
    alone = dataclasses.replace(full(toy), use_features=False)
    alone.save(tmp_path / "model.json")

    assert FPTModelCard.load(tmp_path / "model.json") == alone
    assert full(toy).require_features() == full(toy)
    with pytest.raises(ValueError, match="trained without features"):
        alone.require_features()


def test_a_card_of_before_is_of_a_network_with_features(toy: Toy, tmp_path: Path) -> None:
    full(toy).save(tmp_path / "model.json")
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    del content["use_features"]
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")

    assert FPTModelCard.load(tmp_path / "model.json") == full(toy)


def test_linear_members_are_refused_where_no_features_are_used() -> None:
    network = dataclasses.replace(CONFIG, members=5, linear_members=4)
    assert FPTModelCard(network).network.linear_members == 4
    with pytest.raises(
        ValueError, match=r"linear_members=4 of the network's 5 members .* linear_members 0 and members 1"
    ):
        FPTModelCard(network, use_features=False)
