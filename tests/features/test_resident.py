"""A data set that lies on a device as a whole gives what the cache gives, number by number, or says that it does not fit."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from feature_toys import Toy
from torch.utils.data import DataLoader

from monai_fpt.features import FeatureDataset, MissingFeaturesError
from monai_fpt.features import resident as resident_module
from monai_fpt.features.resident import FPTDeviceMemoryError, FPTResidentFeatures
from monai_fpt.networks import QuantizedFeatures

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])


def noisy(item: dict[str, Any]) -> dict[str, Any]:
    """A transform that draws from torch's generator."""
    return item | {"image": item["image"].float() / 255 + torch.rand(3, 1, 1)}


def require_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        other = second[name]
        assert type(value) is type(other)
        pairs = zip(value, other, strict=True) if isinstance(value, QuantizedFeatures) else [(value, other)]
        for a, b in pairs:
            if isinstance(a, torch.Tensor):
                assert a.dtype == b.dtype and torch.equal(a, b)
            else:
                assert a == b


def from_cache(toy: Toy, items: list[dict[str, Any]], dtype: str, **options: Any) -> FeatureDataset:
    store = toy.store(dtype=dtype)
    toy.extract(items, store)
    return FeatureDataset(items, store, **options)


@DTYPES
@pytest.mark.parametrize("use_features", [True, False], ids=["features", "zeros instead"])
def test_items_are_those_of_the_feature_data_set(
    dtype: str, use_features: bool, toy: Toy, items: list[dict[str, Any]]
) -> None:
    dataset = from_cache(toy, items, dtype, transform=noisy, use_features=use_features)

    resident = FPTResidentFeatures(dataset, "cpu")

    assert len(resident) == len(dataset) == 6
    for index in range(6):
        torch.manual_seed(index)
        expected = dataset[index]
        torch.manual_seed(index)
        require_equal(resident[index], expected)


@DTYPES
def test_batches_are_those_of_a_loader_of_the_feature_data_set(
    dtype: str, toy: Toy, items: list[dict[str, Any]]
) -> None:
    dataset = from_cache(toy, items, dtype, transform=noisy)
    resident = FPTResidentFeatures(dataset, "cpu")

    def batches(source: Any) -> list[dict[str, Any]]:
        torch.manual_seed(3)
        return list(DataLoader(source, batch_size=4, shuffle=True))

    expected = batches(dataset)
    for ours, theirs in zip(batches(resident), expected, strict=True):
        require_equal(ours, theirs)
    torch.manual_seed(5)
    asked = resident.batch([4, 0, 5])
    torch.manual_seed(5)
    require_equal(asked, next(iter(DataLoader([dataset[row] for row in (4, 0, 5)], batch_size=3))))


def test_an_item_s_features_are_a_view_and_not_a_copy(toy: Toy, items: list[dict[str, Any]]) -> None:
    resident = FPTResidentFeatures(from_cache(toy, items, "float16"), "cpu")

    assert resident[1]["features"].data_ptr() == resident.features[1].data_ptr()


def test_it_lives_without_the_cache_and_the_images(toy: Toy, items: list[dict[str, Any]]) -> None:
    dataset = from_cache(toy, items, "int8")
    expected = {name: value.clone() for name, value in zip(("codes", "scales"), dataset[3]["features"], strict=True)}

    resident = FPTResidentFeatures(dataset, "cpu")
    shutil.rmtree(toy.folder / "cache")
    shutil.rmtree(toy.folder / "images")

    assert torch.equal(resident[3]["features"].codes, expected["codes"])
    assert torch.equal(resident[3]["features"].scales, expected["scales"])


@pytest.mark.parametrize("short_of", [1, 10**6])
def test_what_does_not_fit_is_refused_before_anything_is_read(
    short_of: int, toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = from_cache(toy, items, "float32")
    need = 6 * dataset.store.layout.num_bytes
    monkeypatch.setattr(resident_module, "_free_bytes", lambda device: need + 500 - short_of)
    monkeypatch.setattr(FeatureDataset, "__getitem__", lambda *_: pytest.fail("read an item"))

    with pytest.raises(
        FPTDeviceMemoryError, match=r"features of 6 images need .* GB on cpu .* GB are free; train from"
    ):
        FPTResidentFeatures(dataset, "cpu", reserve=500)


def test_what_just_fits_is_loaded(toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = from_cache(toy, items, "float32")
    need = 6 * dataset.store.layout.num_bytes
    monkeypatch.setattr(resident_module, "_free_bytes", lambda device: need + 500)

    assert len(FPTResidentFeatures(dataset, "cpu", reserve=500)) == 6


def test_memory_that_is_free_is_less_than_what_the_machine_has() -> None:
    free = resident_module._free_bytes(torch.device("cpu"))

    assert free is None or 0 < free < 2**50


def test_images_that_are_not_in_the_cache_are_named(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items[:4], store)

    with pytest.raises(MissingFeaturesError, match="2 of 6 images have no features"):
        FPTResidentFeatures(FeatureDataset(items, store), "cpu")


def test_a_transform_that_gives_no_dictionary_makes_no_batches(toy: Toy, items: list[dict[str, Any]]) -> None:
    resident = FPTResidentFeatures(from_cache(toy, items, "float32", transform=lambda item: item["key"]), "cpu")

    assert resident[1] == "p1/scan.raw"
    with pytest.raises(TypeError, match="The transform gave str, but batches are made of dictionaries"):
        resident.batch([0])


def test_items_that_are_listed_several_times_lie_there_once(toy: Toy, items: list[dict[str, Any]]) -> None:
    dataset = from_cache(toy, items * 3, "float16")

    resident = FPTResidentFeatures(dataset, "cpu")

    assert len(resident) == len(dataset) == 18 and len(resident.thumbnails) == len(resident.features) == 6
    for index in (0, 7, 17):
        require_equal(resident[index], dataset[index])
    assert resident.batch([1, 7, 13])["features"].unique(dim=0).shape[0] == 1
