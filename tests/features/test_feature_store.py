"""The cache finds an image by its key and its content, whoever else is writing."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_toys import Toy, flat, in_process, load_toy, make_items, same_content, write_image

from monai_fpt.features import FeatureStore
from monai_fpt.features import store as store_module


def test_what_is_read_is_what_the_backbone_gave(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store, batch_size=1)

    for item in items:
        image = load_toy(item)[None]
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (toy.spec().mean, toy.spec().std))
        features, indices = toy.backbone((image - mean) / std)
        small = torch.nn.functional.interpolate(image, (20, 20), mode="bilinear", antialias=True)
        stored = store.read(store.find(item))
        assert torch.equal(stored.features, features[0])
        assert torch.equal(stored.indices, indices[0])
        assert torch.equal(stored.thumbnail, (small[0] * 255).round().clamp(0, 255).to(torch.uint8))


def test_images_of_equal_names_in_other_folders_are_other_images(toy: Toy, tmp_path: Path) -> None:
    same_name = make_items(tmp_path / "images", [f"patient{i}/1-1.dcm" for i in range(64)])
    store = toy.store()

    report = toy.extract(same_name, store, batch_size=16)

    assert report.extracted == len(store) == 64
    assert len({tuple(store.read(store.find(item)).thumbnail.flatten().tolist()) for item in same_name}) == 64


def test_equal_content_under_two_keys_is_two_entries(toy: Toy, tmp_path: Path) -> None:
    twins = make_items(tmp_path / "images", ["a.raw", "b.raw"])
    shutil.copy(twins[0]["image"], twins[1]["image"])
    store = toy.store()

    toy.extract(twins, store)

    assert store.keys() == ["a.raw", "b.raw"]
    assert all(torch.equal(a, b) for a, b in zip(*(flat(store.read(store.find(t))) for t in twins), strict=True))


def test_a_second_extraction_finds_everything_done(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.extract(items, toy.store())

    report = toy.extract(items, toy.store(), load=None)

    assert (report.extracted, report.reused) == (0, 6)
    assert len(list((toy.folder / "cache" / "parts").iterdir())) == 2


def test_a_file_with_new_content_is_extracted_again_and_the_old_content_stays(
    toy: Toy, items: list[dict[str, Any]]
) -> None:
    store = toy.store()
    toy.extract(items, store)
    path, old = Path(items[0]["image"]), Path(items[0]["image"]).read_bytes()
    before = store.read(store.find(items[0])).features.clone()
    write_image(path, seed=99)
    os.utime(path, (1, 1))

    assert store.find(items[0]) is None
    report = toy.extract(items, store)
    assert (report.extracted, report.reused) == (1, 5)
    assert not torch.equal(store.read(store.find(items[0])).features, before)

    path.write_bytes(old)
    for reader in (store, toy.store()):
        assert torch.equal(reader.read(reader.find(items[0])).features, before)


def test_a_touched_file_is_not_extracted_again(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.extract(items, toy.store())
    for item in items:
        os.utime(item["image"], (1_000_000_000, 1_000_000_000))

    assert toy.extract(items, toy.store(), load=None).reused == 6


def test_an_image_whose_original_is_gone_is_still_read(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.extract(items, toy.store())
    shutil.rmtree(toy.folder / "images")

    store = FeatureStore(toy.folder / "cache")

    assert all(torch.isfinite(store.read(store.find(item)).features).all() for item in items)
    assert toy.extract(items, store, load=None).reused == 6


def test_the_newest_content_counts_for_an_original_that_is_gone(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.extract(items, toy.store())
    write_image(Path(items[0]["image"]), seed=99)
    os.utime(items[0]["image"], (1, 1))
    newest = toy.store()
    toy.extract(items, newest)
    expected = newest.read(newest.find(items[0])).features.clone()
    os.remove(items[0]["image"])

    store = toy.store()

    assert torch.equal(store.read(store.find(items[0])).features, expected)


def test_a_cache_moves_with_its_folder(toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    toy.extract(items, toy.store())
    shutil.move(toy.folder / "cache", toy.folder / "elsewhere")
    monkeypatch.chdir(toy.folder)

    assert len(FeatureStore("elsewhere")) == 6


def test_two_writers_at_once_fill_one_cache(toy: Toy, items: list[dict[str, Any]]) -> None:
    more = make_items(toy.folder / "images", [f"q{i}/scan.raw" for i in range(6)], first_seed=50)
    workers = [in_process(lambda part=part: toy.extract(part, toy.store(), batch_size=1)) for part in (items, more)]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]

    store, alone = toy.store(), toy.store("alone")
    toy.extract(items + more, alone, batch_size=1)

    assert store.verify() == []
    assert sorted(store.keys()) == sorted(item["key"] for item in items + more)
    assert same_content(store, alone, items + more)


def test_interleaved_writers_do_not_disturb_each_other(toy: Toy, items: list[dict[str, Any]]) -> None:
    store, alone = toy.store(), toy.store("alone")
    toy.extract(items, alone)
    with store.writer() as first, toy.store().writer() as second:
        for i, entry in enumerate(alone):
            stored, writer = alone.read(entry), (first, second)[i % 2]
            writer.add(entry.key, entry.sha256, entry.size, entry.mtime_ns, *stored)
            writer.flush()

    assert toy.store().verify() == []
    assert same_content(toy.store(), alone, items)


def test_a_writer_that_finishes_while_another_starts_loses_nothing(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.extract(items, toy.store())
    journal = toy.folder / "cache" / "parts" / "00000.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-10])  # the other writer's last line is on its way ...

    arrived: list[bool] = []

    def other_finishes_first(file: Any) -> bool:
        if not arrived:
            journal.write_bytes(whole)  # ... and arrives before its lock is free
            arrived.append(True)
        return True

    monkeypatch.setattr(store_module, "try_lock", other_finishes_first)
    with toy.store().writer():
        pass

    assert journal.read_bytes() == whole


def test_a_reader_sees_what_others_finished_after_a_reload(toy: Toy, items: list[dict[str, Any]]) -> None:
    reader = toy.store()
    toy.extract(items, toy.store())
    assert len(reader) == 0

    reader.reload()

    assert len(reader) == 6


def test_a_store_survives_pickling_with_open_maps(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract(items, store)
    expected = store.read(store.find(items[0]))

    twin = pickle.loads(pickle.dumps(store))  # noqa: S301

    assert torch.equal(twin.read(twin.find(items[0])).features, expected.features)


def test_a_writer_without_images_leaves_no_part(toy: Toy) -> None:
    with toy.store().writer():
        pass

    assert list((toy.folder / "cache" / "parts").iterdir()) == []


def test_no_cache_and_no_specification_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no feature cache in ".*absent"; extract the features first'):
        FeatureStore(tmp_path / "absent")
