"""The benchmarks of scale measure what they say: cold files are cold, other caches hold what extraction writes, pairs are pairs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks import cold_disk, processes, real_images, resident
from benchmarks import compile as compiling
from benchmarks.cases import Case, Options
from monai_fpt.features import FeatureDataset, FeatureSpec, FeatureStore, extract
from monai_fpt.metrics import FPTPredictions
from monai_fpt.networks import FPTClassifier, FPTConfig
from monai_fpt.report import compare_predictions

TINY = Options(backbone="vit_tiny_patch16_224", image_size=64, batch=2, rounds=1)
NETWORK = FPTConfig(
    backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, backbone_kwargs={"depth": 4}, side_size=32
)


@pytest.fixture
def random_items(tmp_path: Path) -> list[dict[str, Any]]:
    """A random cache of 6 images in ``tmp_path / "cache"``."""
    spec = FeatureSpec.from_network(FPTClassifier(NETWORK))
    return cold_disk.random_store(tmp_path / "cache", spec, 6)[1]


def test_an_epoch_ahead_gives_the_items_of_one_that_waits(random_items: list[dict[str, Any]], tmp_path: Path) -> None:
    batches = []
    for dataset in (FeatureDataset, cold_disk.AheadDataset):
        torch.manual_seed(0)
        loader = DataLoader(dataset(random_items, FeatureStore(tmp_path / "cache")), 4, shuffle=True)
        batches.append([(batch["key"], batch["features"]) for batch in loader])

    for (keys, features), (ahead_keys, ahead) in zip(*batches, strict=True):
        assert keys == ahead_keys
        assert torch.equal(features, ahead)


@pytest.mark.skipif(sys.platform != "linux", reason="the page cache is asked as Linux answers")
def test_what_was_read_is_in_the_page_cache_until_it_is_dropped(
    random_items: list[dict[str, Any]], tmp_path: Path
) -> None:
    next(iter(DataLoader(FeatureDataset(random_items, FeatureStore(tmp_path / "cache")), 6)))
    assert cold_disk.resident_share(tmp_path / "cache") == 1

    cold_disk.drop_from_page_cache(tmp_path / "cache")

    if cold_disk.resident_share(tmp_path / "cache") == 1:
        pytest.skip("this file system keeps its files in memory")
    assert cold_disk.resident_share(tmp_path / "cache") == 0


def test_resident_features_are_compared_in_reading_and_in_epochs() -> None:
    rows = resident.measure(TINY, images=4)

    assert [row.what.split(",")[0] for row in rows] == ["reading", "reading", "epoch", "epoch"]
    assert all(row.ours is not None and row.ours > 0 for row in rows)


def test_without_a_compiler_nothing_is_compiled_and_the_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)

    rows = compiling.measure(TINY)

    assert len(rows) == 2
    assert all("needs a C++ compiler" in row.note for row in rows)


@pytest.mark.parametrize("eager, back", [(3.0, "won back after 10 images"), (1.0, "never won back")])
def test_compile_time_is_set_against_what_it_saves(eager: float, back: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "interleaved", lambda *_: {"eager": eager, "compiled": 2.0})

    row = compiling._row("step", {}, TINY, 1, compiling=5.0, difference=0.0, images=2)

    assert back in row.note
    assert row.ratio == eager / 2


def test_the_compiled_step_would_be_one_graph_with_the_same_loss() -> None:
    """Traced by the same front end, run without a C++ compiler; inductor itself is measured by the benchmark."""
    case = Case(TINY)
    half = case.stored("float16")

    compiled = torch.compile(case.model, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(case.image, half), case.model(case.image, half))


def drawn(folder: Path, count: int) -> list[str]:
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 255, (80, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(count)]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_recoded_cache_is_what_an_extraction_of_that_precision_writes(dtype: str, tmp_path: Path) -> None:
    network = FPTClassifier(NETWORK)
    items = [{"key": path, "image": path} for path in drawn(tmp_path, 5)]
    stores = {}
    for wanted in ("float32", dtype):
        stores[wanted] = FeatureStore(tmp_path / wanted, FeatureSpec.from_network(network, dtype=wanted))  # type: ignore[arg-type]
        extract(items, stores[wanted], network.backbone, processes._load, progress=False)

    recoded = real_images.recode(stores["float32"], tmp_path / "recoded", dtype)

    assert recoded.spec == stores[dtype].spec
    assert processes.contents(tmp_path / "recoded") == processes.contents(tmp_path / dtype)
    assert set(real_images.token_shares(recoded, stores["float32"]).values()) == {1.0}


def test_shares_of_tokens_are_those_of_each_block(tmp_path: Path) -> None:
    spec = FeatureSpec.from_network(FPTClassifier(NETWORK))
    blocks, _, heads, kept, _ = spec.feature_shape
    assert (blocks, heads, kept) == (2, 3, 3)
    stores = []
    for name, shift in (("a", 0), ("b", 2)):
        indices = torch.arange(kept).expand(blocks, heads, kept).clone()
        indices[1] += shift  # of 3 tokens 1 is left
        store = FeatureStore(tmp_path / name, spec)
        with store.writer() as writer:
            side = spec.thumbnail_size
            thumbnail = torch.zeros(3, side, side, dtype=torch.uint8)
            writer.add("x", "0" * 64, 0, 0, torch.zeros(spec.feature_shape), indices, thumbnail)
        stores.append(store)

    shares = real_images.token_shares(*stores)

    assert shares == {spec.blocks[0]: 1.0, spec.blocks[1]: pytest.approx(1 / 3)}


def predictions(seed: int) -> FPTPredictions:
    random = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    logits = np.stack([np.zeros(60), labels + random.normal(0, 1.5, 60)], axis=1)
    keys = tuple(f"{number}.png" for number in range(60))
    return FPTPredictions(keys, keys, labels, logits, ("benign", "malignant"))


def test_a_paired_difference_is_that_of_the_report() -> None:
    ours = real_images.paired_difference([predictions(0)], [predictions(1)], resamples=300)

    report = compare_predictions(predictions(0), predictions(1), bootstrap=300, seed=0).differences["auc"]
    assert (ours.first, ours.other) == pytest.approx((report.champion, report.challenger))
    assert (ours.low, ours.high) == pytest.approx((report.difference.low, report.difference.high))


def test_a_paired_difference_of_several_seeds_is_the_mean_of_theirs() -> None:
    pairs = [real_images.paired_difference([predictions(a)], [predictions(b)], 100) for a, b in ((0, 1), (2, 3))]

    both = real_images.paired_difference([predictions(0), predictions(2)], [predictions(1), predictions(3)], 100)

    assert both.other - both.first == pytest.approx(np.mean([one.other - one.first for one in pairs]))


def test_predictions_in_another_order_are_no_pair() -> None:
    turned = dataclasses.replace(predictions(1)).subset(range(59, -1, -1))

    with pytest.raises(ValueError, match="not of the same images in the same order"):
        real_images.paired_difference([predictions(0)], [turned])


@pytest.mark.slow
def test_two_processes_are_compared_with_one(tmp_path: Path) -> None:
    asked = processes.Extraction(tuple(drawn(tmp_path, 7)), image_size=64)

    one, two = processes.compare(asked, [1, 2])

    assert one.ratio == 1
    assert two.plain == one.ours
    assert "records equal bit by bit" in two.note
