"""Every image is tested once, by a network that saw neither it nor its patient."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from monai_fpt.data import FPTDataList
from monai_fpt.experiments import fold_lists


def patients(count: int = 60, seed: int = 0) -> FPTDataList:
    """Patients of one to four images each; a third of them is positive."""
    random = np.random.default_rng(seed)
    items = [
        {"image": f"/x/{p}_{i}.png", "key": f"{p}_{i}.png", "label": int(p % 3 == 0), "group": f"p{p}"}
        for p in range(count)
        for i in range(int(random.integers(1, 5)))
    ]
    return FPTDataList(("no", "yes"), training=items[:-9], validation=[], test=items[-9:])


def keys(data: FPTDataList, section: str) -> list[str]:
    return [item["key"] for item in data.section(section)]


def test_every_image_is_tested_exactly_once() -> None:
    data = patients()
    tested = Counter(key for fold in fold_lists(data) for key in keys(fold, "test"))
    assert tested == Counter(keys(data, "training") + keys(data, "test"))


def test_no_patient_is_in_two_sections_of_a_fold() -> None:
    for fold in fold_lists(patients()):
        homes = [{item["group"] for item in fold.section(name)} for name in ("training", "validation", "test")]
        assert all(homes)
        assert len(set.union(*homes)) == sum(map(len, homes)) == 60


def test_parts_have_the_share_of_classes_of_the_whole() -> None:
    data = patients(300)
    whole = np.mean([item["label"] for item in (*data.training, *data.test)])
    shares = [fold.class_counts("test")[1] / len(fold.test) for fold in fold_lists(data)]
    assert np.abs(np.array(shares) - whole).max() < 0.03


def test_folds_depend_on_keys_and_seed_not_on_the_order_of_files() -> None:
    data = patients()
    shuffled = dataclasses.replace(data, training=data.training[::-1])
    assert [f.digest for f in fold_lists(data)] == [f.digest for f in fold_lists(shuffled)]
    assert [f.digest for f in fold_lists(data)] != [f.digest for f in fold_lists(data, seed=1)]


def test_an_official_test_section_can_be_left_alone() -> None:
    data = patients()
    folds = fold_lists(data, sections=("training", "validation"))
    assert not {key for fold in folds for name in ("training", "test") for key in keys(fold, name)} & set(
        keys(data, "test")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folds": 1}, "at least 2"),
        ({"folds": True}, "at least 2"),
        ({"validation_fraction": 0.0}, "between 0 and 1"),
        ({"sections": ("train",)}, "training, validation, test"),
        ({"folds": 21}, "fewer than 21 folds"),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_be_dealt_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fold_lists(patients(), **change)  # type: ignore[arg-type]


def test_several_labels_are_dealt_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    items = [
        {"image": f"/x/{i}.png", "key": f"{i}.png", "label": [float(v) for v in random.integers(0, 2, 3)]}
        for i in range(80)
    ]
    data = FPTDataList(("a", "b", "c"), items, [], [], task="multilabel")
    assert all(
        min(fold.class_counts(name)) > 0 for fold in fold_lists(data) for name in ("training", "validation", "test")
    )
