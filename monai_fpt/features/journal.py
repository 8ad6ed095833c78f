"""The journal of a cache: one line per finished image, with a checksum of its own."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["PREPARATION_FACTS", "FeatureEntry", "preparation_facts", "read_journal"]

PREPARATION_FACTS = ("laterality", "view")


@dataclasses.dataclass(frozen=True)
class FeatureEntry:
    """One finished image.

    Attributes:
        key: the data list's key, a relative path.
        sha256: of the image file's content.
        size, mtime_ns: of the image file when it was read.
        crc32: of the record.
        part, row: where the record lies.
        facts: of the item that its preparation may have read, see :func:`preparation_facts`.
    """

    key: str
    sha256: str
    size: int
    mtime_ns: int
    crc32: int
    part: str
    row: int
    facts: str = ""

    def to_line(self) -> str:
        body = {k: v for k, v in dataclasses.asdict(self).items() if k != "part"}
        text = json.dumps(body, sort_keys=True, ensure_ascii=not _is_unicode(self.key))
        return f"{zlib.crc32(text.encode()):08x} {text}\n"

    @classmethod
    def from_line(cls, line: str, part: str) -> FeatureEntry:
        checksum, _, text = line.partition(" ")
        if checksum != f"{zlib.crc32(text.encode()):08x}":
            raise ValueError("checksum")
        return cls(part=part, **json.loads(text))


def preparation_facts(item: Mapping[str, Any]) -> str:
    """The facts of a data list item that decide how its image is prepared, as text; empty where there are none."""
    known = {name: str(item[name]) for name in PREPARATION_FACTS if item.get(name)}
    return json.dumps(known, sort_keys=True) if known else ""


def _is_unicode(key: str) -> bool:
    """False for the name of a file that is no Unicode; JSON can escape it, a file of text cannot hold it."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_journal(journal: Path) -> tuple[list[FeatureEntry], list[str], bool]:
    """Entries, findings, and whether the last line is torn (legitimately, by a kill)."""
    entries: list[FeatureEntry] = []
    problems: list[str] = []
    lines = journal.read_bytes().split(b"\n")
    torn = lines.pop() != b""
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(FeatureEntry.from_line(line.decode(), journal.stem))
        except (ValueError, TypeError):
            problems.append(f"line {number} of parts/{journal.name} does not match its checksum")
    return entries, problems, torn
