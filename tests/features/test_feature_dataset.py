"""A store and a data list as a dataset: what training sees, and that it never opens an image."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_toys import Toy, load_toy, write_image
from monai.data.utils import set_rnd
from torch.utils.data import DataLoader

from monai_fpt.features import FeatureDataset, FeatureStore, FPTResidentFeatures, MissingFeaturesError, ensure_features
from monai_fpt.networks import QuantizedFeatures


def test_an_item_is_the_data_list_s_with_thumbnail_and_features(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)
    shutil.rmtree(toy.folder / "images")
    dataset = FeatureDataset([item | {"patient": 7} for item in items], store)

    item = dataset[2]

    stored = store.read(store.find(items[2]))
    assert len(dataset) == 6
    assert (item["key"], item["label"], item["patient"]) == ("p2/scan.raw", 0, 7)
    assert torch.equal(item["image"], stored.thumbnail)
    assert torch.equal(item["features"], stored.features)
    assert isinstance(items[2]["image"], str)


def test_the_transform_gets_and_gives_the_item(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)

    dataset = FeatureDataset(items, store, transform=lambda item: (item["key"], item["image"].float().mean().item()))

    assert dataset[1] == ("p1/scan.raw", store.read(store.find(items[1])).thumbnail.float().mean().item())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_without_features_there_are_zeros_of_the_same_kind(dtype: str, toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store(dtype=dtype)
    toy.extract(items, store)

    with_features, without = FeatureDataset(items, store)[0], FeatureDataset(items, store, use_features=False)[0]

    given, zeros = with_features["features"], without["features"]
    assert type(zeros) is type(given)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (given, zeros)), strict=True):
        assert a.any()
        assert not b.any()
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert torch.equal(with_features["image"], without["image"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("workers", [0, 2], ids=["in this process", "two loader processes"])
def test_batches_of_a_loader_train_the_network(workers: int, dtype: str, toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store(dtype=dtype)
    toy.extract(items, store)
    loader = DataLoader(FeatureDataset(items, store), batch_size=3, num_workers=workers)

    batches = list(loader)

    assert [key for batch in batches for key in batch["key"]] == [item["key"] for item in items]
    for i, batch in enumerate(batches):
        expected = [store.read(store.find(item)) for item in items[3 * i : 3 * i + 3]]
        assert torch.equal(batch["image"], torch.stack([e.thumbnail for e in expected]))
        if dtype == "int8":
            assert isinstance(batch["features"], QuantizedFeatures)
            assert torch.equal(batch["features"].codes, torch.stack([e.features.codes for e in expected]))
        else:
            assert torch.equal(batch["features"], torch.stack([e.features for e in expected]))
        side = torch.nn.functional.interpolate(batch["image"] / 255, (16, 16))
        loss = torch.nn.functional.cross_entropy(toy.network(side, batch["features"]), batch["label"])
        loss.backward()
    assert toy.network.fusion.prompts.grad.any()


def test_several_labels_become_numbers_of_a_loss(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)
    dataset = FeatureDataset([item | {"label": [i % 2, 1, 0]} for i, item in enumerate(items)], store)

    batch = next(iter(DataLoader(dataset, batch_size=6)))

    assert batch["label"].dtype == torch.float32
    assert batch["label"].tolist() == [[i % 2, 1, 0] for i in range(6)]


def test_missing_features_are_counted_and_named(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items[:4], store)

    with pytest.raises(
        MissingFeaturesError,
        match=r'2 of 6 images have no features in the cache ".*cache".*first is "p4/scan.raw"; run the extraction',
    ):
        FeatureDataset(items, store)[0]


def test_features_of_an_image_that_changed_since_are_missing(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)
    Path(items[3]["image"]).unlink()
    write_image(Path(items[3]["image"]).with_suffix(".new"), seed=99).rename(items[3]["image"])

    with pytest.raises(MissingFeaturesError, match=r'1 of 6 .*"p3/scan.raw"'):
        FeatureDataset(items, store)[0]


def test_what_another_process_finished_meanwhile_is_found(toy: Toy, items: list[dict[str, Any]]) -> None:
    dataset = FeatureDataset(items, toy.store())
    toy.extract(items, toy.store())

    assert dataset[5]["key"] == "p5/scan.raw"


def test_missing_features_reach_the_user_through_a_loader_process(toy: Toy, items: list[dict[str, Any]]) -> None:
    loader = DataLoader(FeatureDataset(items, toy.store()), num_workers=1)

    with pytest.raises(MissingFeaturesError, match="6 of 6 images have no features"):
        next(iter(loader))


def mirrored(item: Mapping[str, Any]) -> torch.Tensor:
    return load_toy(item).flip(-1)


def two_views(toy: Toy, items: list[dict[str, Any]]) -> tuple[FeatureStore, FeatureStore]:
    """A cache, and one of the mirrored images beside it, both filled as training fills them."""
    plain = toy.store()
    other = FeatureStore(toy.folder / "mirrored", dataclasses.replace(plain.spec, preprocessing="mirrored"))
    ensure_features([items[:4], items[4:]], plain, toy.backbone, load_toy, views=[{"store": other, "load": mirrored}])
    return plain, other


def test_of_several_views_each_access_draws_one_for_thumbnail_and_features(
    toy: Toy, items: list[dict[str, Any]]
) -> None:
    stores = two_views(toy, items)
    dataset = FeatureDataset(items, stores[0], views=stores[1:])
    expected = [store.read(store.find(items[3])) for store in stores]
    assert not torch.equal(expected[0].features, expected[1].features)

    drawn = []
    for _ in range(40):
        item = dataset[3]
        view = int(torch.equal(item["image"], expected[1].thumbnail))
        assert torch.equal(item["image"], expected[view].thumbnail)
        assert torch.equal(item["features"], expected[view].features)
        drawn.append(view)

    assert 5 < sum(drawn) < 35


def test_views_are_drawn_anew_in_every_epoch_and_alike_for_equal_seeds(toy: Toy, items: list[dict[str, Any]]) -> None:
    stores = two_views(toy, items)
    dataset = FeatureDataset(items, stores[0], views=stores[1:])

    def epoch(seed: int) -> list[float]:
        set_rnd(dataset, seed)
        return [dataset[row % 6]["features"].float().sum().item() for row in range(30)]

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)


def test_without_views_the_transforms_are_seeded_as_they_always_were(toy: Toy, items: list[dict[str, Any]]) -> None:
    transform = RandomNumber()
    dataset = FeatureDataset(items, toy.store(), transform=transform)

    set_rnd(dataset, 8)

    assert transform.seeds == [8]


def test_an_image_may_be_read_again_instead_of_its_thumbnail(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)

    item = FeatureDataset(items, store, load=lambda item: {"image": load_toy(item)})[2]

    assert torch.equal(item["image"], load_toy(items[2]))
    assert torch.equal(item["features"], store.read(store.find(items[2])).features)


def test_what_differs_between_accesses_is_not_read_once_and_kept(toy: Toy, items: list[dict[str, Any]]) -> None:
    stores = two_views(toy, items)

    with pytest.raises(ValueError, match="has views or load"):
        FPTResidentFeatures(FeatureDataset(items, stores[0], views=stores[1:]), "cpu")
    with pytest.raises(ValueError, match="give views or load"):
        FeatureDataset(items, stores[0], views=stores[1:], load=load_toy)


def test_items_may_be_listed_several_times_and_are_looked_up_once(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = toy.store()
    toy.extract(items[1:], store)
    found: list[str] = []
    find = FeatureStore.find
    monkeypatch.setattr(FeatureStore, "find", lambda self, item: (found.append(item["key"]), find(self, item))[1])

    dataset = FeatureDataset(items[1:] * 3, store)

    assert len(dataset) == 15 and dataset[1]["key"] == dataset[6]["key"] == items[2]["key"]
    assert torch.equal(dataset[1]["features"], dataset[11]["features"])
    assert found == [item["key"] for item in items[1:]]
    with pytest.raises(MissingFeaturesError, match="1 of 6 images have no features"):
        FeatureDataset(items * 3, store)[0]


class RandomNumber:
    """A random transform, as far as seeding goes."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def set_random_state(self, seed: int) -> None:
        self.seeds.append(seed)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return item
