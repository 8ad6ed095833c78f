"""Damage anywhere in a cache is found; what a killed process leaves behind is no damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feature_toys import Toy

from monai_fpt.features import CorruptCacheError, FeatureStore


@pytest.fixture
def cache(toy: Toy, items: list[dict[str, Any]]) -> Path:
    """A whole cache of six images."""
    toy.extract(items, toy.store())
    return toy.folder / "cache"


def findings(cache: Path) -> list[str]:
    """What opening and verifying say, as the command ``cache verify`` does it."""
    try:
        return FeatureStore(cache, strict=False).verify()
    except CorruptCacheError as error:
        return [str(error)]


def flip(path: Path, where: float, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[min(int(where * len(content)), len(content) - 1)] ^= 1 << bit
    path.write_bytes(content)


def test_a_whole_cache_has_no_findings(cache: Path) -> None:
    assert findings(cache) == []


@pytest.mark.parametrize("bit", [0, 5, 7], ids="bit {}".format)
@pytest.mark.parametrize("where", [0.0, 0.17, 0.5, 0.83, 1.0], ids="at {:.0%}".format)
@pytest.mark.parametrize("name", ["parts/00000.bin", "parts/00000.jsonl", "spec.json"])
def test_a_flipped_bit_is_found(name: str, where: float, bit: int, cache: Path) -> None:
    if name == "spec.json" and where == 1.0:
        where = 0.999  # the closing brace; JSON allows blanks behind it
    flip(cache / name, where, bit)

    assert findings(cache)


def test_a_flipped_byte_names_the_image_it_belongs_to(cache: Path) -> None:
    flip(cache / "parts" / "00000.bin", 0.25, 0)

    assert findings(cache) == ['the record of "p1/scan.raw" (row 1 of parts/00000.bin) does not match its checksum']


@pytest.mark.parametrize("lost", [1, 100, 50_000], ids="{} bytes".format)
def test_a_truncated_data_file_is_found(lost: int, cache: Path) -> None:
    data = cache / "parts" / "00000.bin"
    data.write_bytes(data.read_bytes()[: -min(lost, data.stat().st_size)])

    assert any(
        "shorter than its journal says" in finding or "missing or empty" in finding for finding in findings(cache)
    )


def test_a_missing_data_file_is_found(cache: Path) -> None:
    (cache / "parts" / "00000.bin").unlink()

    assert all("parts/00000.bin" in finding and "missing or empty" in finding for finding in findings(cache))
    assert findings(cache)


def test_reading_a_truncated_record_is_an_error_and_the_others_are_read(
    cache: Path, toy: Toy, items: list[dict[str, Any]]
) -> None:
    data = cache / "parts" / "00000.bin"
    data.write_bytes(data.read_bytes()[:-1])
    store = toy.store()

    with pytest.raises(CorruptCacheError, match="shorter than its journal says"):
        store.read(store.find(items[5]))

    assert store.read(store.find(items[4])).thumbnail.any()


def test_a_damaged_journal_is_refused_at_opening_with_what_to_do(cache: Path) -> None:
    flip(cache / "parts" / "00000.jsonl", 0.5, 0)

    with pytest.raises(
        CorruptCacheError,
        match=r"is damaged: line \d of parts/00000.jsonl does not match .* cache verify.* delete parts/00000\.\*",
    ):
        FeatureStore(cache)


def test_a_damaged_part_can_be_deleted_and_extracted_again(cache: Path, toy: Toy, items: list[dict[str, Any]]) -> None:
    flip(cache / "parts" / "00000.jsonl", 0.5, 0)
    for path in cache.glob("parts/00000.*"):
        path.unlink()

    assert toy.extract(items, toy.store()).extracted == 6
    assert findings(cache) == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '"text"', "\x00\x00", '{"format": 1}'],
    ids=["empty", "list", "object", "text", "zeros", "other"],
)
def test_a_specification_that_is_none_is_refused(content: str, cache: Path) -> None:
    (cache / "spec.json").write_text(content, encoding="utf-8")

    with pytest.raises(CorruptCacheError, match=r"spec\.json"):
        FeatureStore(cache)


def test_an_edited_specification_is_refused(cache: Path) -> None:
    text = (cache / "spec.json").read_text(encoding="utf-8")
    (cache / "spec.json").write_text(text.replace('"image_size": 32', '"image_size": 48'), encoding="utf-8")

    with pytest.raises(CorruptCacheError, match="does not match its own fingerprint; it was edited or damaged"):
        FeatureStore(cache)


@pytest.mark.parametrize("cut", [1, 10, 100], ids="{} bytes torn off".format)
def test_an_unfinished_last_line_costs_one_image_and_is_mended_by_the_next_extraction(
    cut: int, cache: Path, toy: Toy, items: list[dict[str, Any]]
) -> None:
    journal = cache / "parts" / "00000.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert [f for f in findings(cache) if "unfinished line" not in f] == []
    assert len(findings(cache)) == 1

    report = toy.extract(items, toy.store())

    assert (report.extracted, report.reused) == (1, 5)
    assert findings(cache) == []


def test_bytes_behind_the_last_finished_record_are_ignored(cache: Path, toy: Toy, items: list[dict[str, Any]]) -> None:
    with open(cache / "parts" / "00000.bin", "ab") as data:
        data.write(b"torn" * 1000)

    assert findings(cache) == []
    assert toy.extract(items, toy.store(), load=None).reused == 6


def test_a_torn_journal_without_its_data_does_not_stop_the_next_extraction(
    cache: Path, toy: Toy, items: list[dict[str, Any]]
) -> None:
    journal = cache / "parts" / "00000.jsonl"
    (cache / "parts" / "00000.bin").unlink()
    journal.write_bytes(journal.read_bytes()[:40])

    assert toy.extract(items, toy.store()).extracted == 6
