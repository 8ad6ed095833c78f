"""Extraction: every failure is reported by name at the end, and the rest is done."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_toys import CONFIG, Toy, in_process, load_toy, make_items, same_content

from monai_fpt.features import DiskSpaceError, FeatureSpec, FeatureStore, UnreadableImagesError
from monai_fpt.features import extract as extract_function
from monai_fpt.features import store as store_module
from monai_fpt.networks import FPTClassifier


def broken(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Image 1 is too short, image 4 is not there."""
    Path(items[1]["image"]).write_bytes(b"short")
    os.remove(items[4]["image"])
    return items


@pytest.mark.parametrize("workers", [0, 2], ids=["in this process", "two loader processes"])
def test_unreadable_images_are_named_at_the_end_and_the_rest_is_done(
    workers: int, toy: Toy, items: list[dict[str, Any]]
) -> None:
    store = toy.store()

    report = toy.extract(broken(items), store, num_workers=workers)

    assert report.extracted == len(store) == 4
    assert [key for key, _ in report.failed] == ["p1/scan.raw", "p4/scan.raw"]
    assert report.failed[0][1] == "scan.raw has 5 bytes, expected 3072"
    assert "No such file" in report.failed[1][1]
    assert "p1/scan.raw: scan.raw has 5 bytes" in str(report)
    with pytest.raises(
        UnreadableImagesError, match=r"2 images could not be read: p1/scan.raw \(.*\); p4/scan.raw .* skip_unreadable"
    ):
        report.require_complete()


def test_fail_fast_stops_at_the_first_unreadable_image_and_keeps_what_is_done(
    toy: Toy, items: list[dict[str, Any]]
) -> None:
    store = toy.store()

    with pytest.raises(UnreadableImagesError, match=r"1 images could not be read: p4/scan.raw"):
        Path(items[4]["image"]).write_bytes(b"short")
        toy.extract(items, store, fail_fast=True)

    assert sorted(toy.store().keys()) == [f"p{i}/scan.raw" for i in range(4)]


LOADED: dict[str, tuple[Any, str]] = {
    "one channel": (torch.zeros(1, 32, 32), r"shape \(1, 32, 32\), expected floating point \(3, H, W\)"),
    "whole numbers": (torch.zeros(3, 32, 32, dtype=torch.uint8), r"torch.uint8 of shape"),
    "not scaled": (torch.full((3, 32, 32), 255.0), r"values from 255 to 255, expected \[0, 1\]"),
    "not a number": (torch.full((3, 32, 32), float("nan")), r"nan.*expected \[0, 1\]"),
}


@pytest.mark.parametrize(("image", "why"), LOADED.values(), ids=LOADED.keys())
def test_an_image_of_the_wrong_kind_is_that_image_s_failure(
    image: Any, why: str, toy: Toy, items: list[dict[str, Any]]
) -> None:
    report = toy.extract(
        items, toy.store(), load=lambda item: image if item["key"] == "p2/scan.raw" else load_toy(item)
    )

    assert report.extracted == 5
    assert [key for key, _ in report.failed] == ["p2/scan.raw"]
    with pytest.raises(UnreadableImagesError, match=why):
        report.require_complete()


class Overflowing(torch.nn.Module):
    """A backbone that gives one image a number beyond float16, or none at all."""

    def __init__(self, backbone: Any, value: float) -> None:
        super().__init__()
        self.inner, self.value, self.fingerprint, self.images = backbone, value, backbone.fingerprint, 0

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, image: torch.Tensor) -> Any:
        found = self.inner(image)
        for i in range(len(image)):
            if self.images + i == 3:
                found.features[i, 0, 0, 0, 0, 0] = self.value
        self.images += len(image)
        return found


@pytest.mark.parametrize(
    ("value", "why"), [(1e6, "beyond the range of float16"), (float("nan"), "not finite")], ids=["overflow", "NaN"]
)
def test_a_feature_that_cannot_be_stored_is_that_image_s_failure(
    value: float, why: str, toy: Toy, items: list[dict[str, Any]]
) -> None:
    toy.backbone = Overflowing(toy.backbone, value)  # type: ignore[assignment]

    report = toy.extract(items, toy.store(dtype="float16"), batch_size=3)

    assert report.extracted == len(toy.store(dtype="float16")) == 5
    assert [key for key, _ in report.failed] == ["p3/scan.raw"]
    assert why in report.failed[0][1]


def test_images_of_any_size_are_resized_to_the_backbone_s(toy: Toy, items: list[dict[str, Any]]) -> None:
    report = toy.extract(items, toy.store(), load=lambda item: torch.rand(3, 50 + len(item["key"]), 41))

    assert report.extracted == 6


def test_a_mapping_with_an_image_is_as_good_as_an_image(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.extract(items, toy.store())
    toy.extract(items, toy.store("other"), load=lambda item: item | {"image": load_toy(item)})

    assert same_content(toy.store(), toy.store("other"), items)


def test_two_images_of_one_key_are_refused_before_anything_is_written(toy: Toy, tmp_path: Path) -> None:
    first, second = make_items(tmp_path / "images", ["a/1.raw", "b/1.raw"])

    with pytest.raises(ValueError, match=r'Two images have the key "a/1.raw"; keys of a data list must be unique'):
        toy.extract([first, second | {"key": "a/1.raw"}], toy.store())

    assert not (toy.folder / "cache").exists()


def test_one_image_twice_in_the_list_is_read_once(toy: Toy, items: list[dict[str, Any]]) -> None:
    assert toy.extract(items + items, toy.store()).extracted == 6


def test_a_backbone_of_other_weights_is_refused(toy: Toy, items: list[dict[str, Any]]) -> None:
    toy.backbone = FPTClassifier(dataclasses.replace(CONFIG, backbone_kwargs={"depth": 3})).backbone

    with pytest.raises(ValueError, match=r"backbone's weights \(\w{12}\) are not those of the spec \(\w{12}\)"):
        toy.extract(items, toy.store())


OTHER_TAPS: list[dict[str, Any]] = [
    {"blocks": (0,)},
    {"importance": "class_token"},
    {"prefix_tokens": "drop"},
    {"norm_eps": 1e-3},
]


@pytest.mark.parametrize("change", OTHER_TAPS, ids=str)
def test_a_backbone_with_other_settings_than_the_specification_is_refused(
    change: dict[str, Any], toy: Toy, items: list[dict[str, Any]]
) -> None:
    store = toy.store()
    toy.backbone = FPTClassifier(dataclasses.replace(CONFIG, **change)).backbone

    with pytest.raises(ValueError, match=next(iter(change))):
        toy.extract(items, store)


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_reduced_precision_of_the_pass_is_close_and_not_equal(
    dtype: str, toy: Toy, items: list[dict[str, Any]]
) -> None:
    exact = toy.store()
    toy.extract(items, exact)
    spec = dataclasses.replace(toy.spec(), compute_dtype=dtype, num_tokens=5)
    whole = dataclasses.replace(CONFIG, num_tokens=5)
    toy.backbone = FPTClassifier(whole).backbone

    reduced, full = (
        FeatureStore(toy.folder / "reduced", spec),
        FeatureStore(toy.folder / "full", dataclasses.replace(spec, compute_dtype="float32")),
    )
    toy.extract(items, reduced)
    toy.extract(items, full)

    for item in items:
        a, b = (s.read(s.find(item)) for s in (reduced, full))
        a, b = (x.features.gather(3, x.indices.argsort(-1)[:, None, :, :, None].expand_as(x.features)) for x in (a, b))
        assert not torch.equal(a, b)
        assert (a - b).abs().max() < 0.05 * b.abs().max()


def test_the_specification_s_normalisation_is_the_one_used(toy: Toy, items: list[dict[str, Any]]) -> None:
    spec: FeatureSpec = toy.spec(mean=(0.1, 0.2, 0.3), std=(0.2, 0.3, 0.4))

    store = FeatureStore(toy.folder / "own", spec)
    toy.extract(items[:1], store)

    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    expected = toy.backbone(((load_toy(items[0]) - mean) / std)[None]).features[0]
    torch.testing.assert_close(store.read(store.find(items[0])).features, expected)


def test_a_disk_too_small_is_refused_before_anything_is_written(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(toy.folder)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(
        DiskSpaceError,
        match=r"features of 6 images need .* GB, but .* has only 0.00 GB free; make room, .*feature_dtype \"int8\"",
    ):
        toy.extract(items, toy.store(), load=None)

    assert not (toy.folder / "cache").exists()


def test_only_what_is_missing_must_fit_on_the_disk(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.extract(items, toy.store())
    usage = shutil.disk_usage(toy.folder)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    assert toy.extract(items, toy.store(), load=None).reused == 6


def test_the_need_is_announced_with_the_number_of_images(
    toy: Toy, items: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    toy.extract(items, toy.store(), progress=True)

    assert f"Features: 6 images x 0.00 MB = 0.00 GB in {toy.folder / 'cache'}" in capsys.readouterr().out


@pytest.mark.parametrize("calls", [1, 3, 4, 5, 6], ids="at write {}".format)
def test_a_write_that_fails_keeps_what_was_finished_and_the_next_run_goes_on(
    calls: int, toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = store_module._write_all, [calls]

    def full(file: Any, content: bytes) -> None:
        left[0] -= 1
        if left[0] == 0:
            file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write_all", full)
        with pytest.raises(
            DiskSpaceError,
            match=r"failed \(No space left on device\); \d images are finished and safe.*goes on from there",
        ):
            toy.extract(items, toy.store())

    assert toy.store().verify() == []
    done = len(toy.store())
    assert toy.extract(items, toy.store()).reused == done
    toy.extract(items, toy.store("alone"))
    assert same_content(toy.store(), toy.store("alone"), items)


def test_a_writer_that_goes_on_after_a_failed_write_writes_whole_records(
    toy: Toy, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.extract(items[:2], toy.store("source"))
    source = toy.store("source")
    write = store_module._write_all

    def full(file: Any, content: bytes) -> None:
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with toy.store().writer() as writer:
        entry = next(iter(source))
        writer.add(entry.key, entry.sha256, entry.size, entry.mtime_ns, *source.read(entry))
        monkeypatch.setattr(store_module, "_write_all", full)
        with pytest.raises(OSError, match="No space"):
            writer.flush()
        monkeypatch.setattr(store_module, "_write_all", write)
        writer.flush()

    assert toy.store().verify() == []
    assert same_content(toy.store(), source, items[:1])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for a few records."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if shutil.which("mount")
        else None
    )
    if done is None or done.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_keeps_what_was_finished(
    small_disk: Path, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    items = make_items(tmp_path / "images", [f"p{i:03}.raw" for i in range(250)])
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    usage = shutil.disk_usage(small_disk)._replace(free=10**9)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)  # somebody else takes the room meanwhile
        with pytest.raises(DiskSpaceError, match=r"No space left on device\); \d+ images are finished and safe"):
            toy.extract(items, FeatureStore(small_disk / "cache", toy.spec()), batch_size=8)

    store = FeatureStore(small_disk / "cache", toy.spec())
    assert store.verify() == []
    assert 0 < len(store) < len(items)

    ballast.unlink()
    room = items[: len(store) + 8]
    report = toy.extract(room, FeatureStore(small_disk / "cache", toy.spec()))
    assert (report.extracted, report.reused) == (8, len(store))
    assert FeatureStore(small_disk / "cache", toy.spec()).verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_file_size_limit_of_the_system_is_reported_the_same_way(toy: Toy, items: list[dict[str, Any]]) -> None:
    resource = pytest.importorskip("resource")

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = toy.store()
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * store.layout.num_bytes + 100,) * 2)
        with pytest.raises(DiskSpaceError, match=r"File too large\); 2 images are finished and safe"):
            extract_function(items, store, toy.backbone, load_toy, batch_size=2, progress=False)

    process = in_process(limited)
    process.join(60)

    assert process.exitcode == 0
    assert toy.store().verify() == []
    assert toy.extract(items, toy.store()).reused == 2


def test_another_laterality_is_another_entry_of_the_same_file(toy: Toy, items: list[dict[str, Any]]) -> None:
    store = toy.store()
    toy.extract([item | {"laterality": "L"} for item in items], store)
    store.reload()

    assert all(store.find(item | {"laterality": "L", "age": "60"}) for item in items)
    assert not any(store.find(item | {"laterality": "R"}) or store.find(item) for item in items)

    report = toy.extract([item | {"laterality": "R"} for item in items], store)
    assert report.extracted == len(items)
    store.reload()
    left, right = (store.find(items[0] | {"laterality": side}) for side in "LR")
    assert left is not None and right is not None and left != right and left.sha256 == right.sha256


@pytest.mark.skipif(sys.platform == "win32" or sys.platform == "darwin", reason="file names there are always Unicode")
def test_a_file_name_that_is_no_unicode_is_kept_and_spoils_nothing(toy: Toy, tmp_path: Path) -> None:
    items = make_items(tmp_path / "latin", ["a.raw", os.fsdecode(b"M\xfcller.raw"), "b.raw"])

    report = toy.extract(items, toy.store())

    assert report.extracted == 3 and not report.failed
    assert same_content(toy.store(), toy.store(), items)  # opened anew from the disk
