"""Splits keep groups whole and classes balanced, and are the same on every machine."""

from __future__ import annotations

import random

import pytest

from monai_fpt.data.split import check_fractions, deal_sections

SECTIONS = ("training", "validation", "test")


def patients(number: int, seed: int = 0) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Images of patients with one to six images each and three classes, 70 : 25 : 5, some patients of two classes."""
    chance = random.Random(seed)
    labels, groups = {}, {}
    for patient in range(number):
        usual = chance.choices([0, 1, 2], [70, 25, 5])[0]
        for image in range(chance.randint(1, 6)):
            key = f"p{patient}/{image}.png"
            labels[key] = [usual if chance.random() < 0.9 else 0]
            groups[key] = f"p{patient}"
    return labels, groups


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0.2, 0.2), (0.15, 0.33), (0.1, 0.0)])
def test_groups_stay_whole_and_classes_keep_their_shares(val: float, test: float, seed: int) -> None:
    labels, groups = patients(400)
    fractions = check_fractions(val, test)
    dealt = deal_sections(labels, groups, ["a", "b", "c"], fractions, seed)
    assert set(dealt) == set(labels)
    homes: dict[str, set[str]] = {}
    for key, section in dealt.items():
        homes.setdefault(groups[key], set()).add(section)
    assert all(len(found) == 1 for found in homes.values())
    for index in range(3):
        of_class = [key for key in labels if labels[key] == [index]]
        for section in SECTIONS:
            share = sum(dealt[key] == section for key in of_class) / len(of_class)
            assert share == pytest.approx(fractions[section], abs=0.03 if index < 2 else 0.08)


def test_single_images_are_split_almost_exactly() -> None:
    labels = {f"{number:04}.png": [int(number % 4 == 0)] for number in range(1000)}
    dealt = deal_sections(labels, {}, ["a", "b"], check_fractions(0.1, 0.2), 0)
    for index, size in ((0, 750), (1, 250)):
        counts = [sum(dealt[k] == s for k in labels if labels[k] == [index]) for s in SECTIONS]
        assert counts == [pytest.approx(size * share, abs=1) for share in (0.7, 0.1, 0.2)]


def test_a_rare_class_is_in_every_section() -> None:
    labels = {f"{number}.png": [0] for number in range(100)} | {f"r{number}.png": [1] for number in range(3)}
    dealt = deal_sections(labels, {}, ["common", "rare"], check_fractions(0.1, 0.2), 0)
    assert sorted(dealt[f"r{number}.png"] for number in range(3)) == sorted(SECTIONS)
    del labels["r2.png"]
    with pytest.raises(ValueError, match=r"class 'rare' has 2 separate .* fewer than the 3 sections"):
        deal_sections(labels, {}, ["common", "rare"], check_fractions(0.1, 0.2), 0)


def test_several_labels_are_balanced_too() -> None:
    chance = random.Random(0)
    labels = {f"{n}.png": [k for k in range(3) if chance.random() < (0.4, 0.2, 0.1)[k]] for n in range(600)}
    dealt = deal_sections(labels, {}, ["a", "b", "c"], check_fractions(0.1, 0.2), 0)
    for index in range(3):
        keys = [key for key in labels if index in labels[key]]
        assert sum(dealt[key] == "test" for key in keys) / len(keys) == pytest.approx(0.2, abs=0.05)
    unlabelled = [key for key in labels if not labels[key]]
    assert sum(dealt[key] == "test" for key in unlabelled) / len(unlabelled) == pytest.approx(0.2, abs=0.05)


def test_the_split_depends_on_the_seed_and_not_on_the_order() -> None:
    labels, groups = patients(100)
    fractions = check_fractions(0.1, 0.2)
    keys = list(labels)
    random.Random(5).shuffle(keys)
    first = deal_sections(labels, groups, ["a", "b", "c"], fractions, 0)
    assert deal_sections({key: labels[key] for key in keys}, groups, ["a", "b", "c"], fractions, 0) == first
    assert deal_sections(labels, groups, ["a", "b", "c"], fractions, 1) != first


def test_the_split_does_not_depend_on_the_order_of_the_files() -> None:
    labels = {f"{number}.png": [number % 2] for number in range(40)}
    backwards = dict(reversed(labels.items()))
    dealt = [deal_sections(table, {}, ["even", "odd"], check_fractions(0.2, 0.2), 0) for table in (labels, backwards)]
    assert dealt[0] == dealt[1]
    other_seed = deal_sections(labels, {}, ["even", "odd"], check_fractions(0.2, 0.2), 1)
    assert other_seed != dealt[0]


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.5, 0.5)])
def test_impossible_fractions_are_refused(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="must not be negative and must add up"):
        check_fractions(val, test)
