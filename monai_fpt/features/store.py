"""FeatureStore: the files on disk.

    cache_dir/
      spec.json             what the features are, and its fingerprint
      parts/00000.bin       records of one length, one behind the other; memory-mapped for reading
      parts/00000.jsonl     the journal: one line per finished record, with checksums

Decisions:

- An image is in the cache if and only if its journal line is whole. Records are written and synced first, lines after,
  so a kill at any moment loses at most the batch in flight, and what a kill leaves behind (a torn last line, bytes
  beyond the last record) is recognised and ignored.
- Every writer makes its own part, so that torchrun ranks or two users fill one cache without locks.
- Entries are keyed by the data list's own key and the sha256 of the file's content; ``1-1.dcm`` of two patients are two
  entries, and a changed file is another entry. Size and modification time only spare the hash when nothing changed.
- So do the facts of a data list that preparation reads (``PREPARATION_FACTS``): the same file with another laterality is
  mirrored otherwise, and another entry.
- Raw records under a memory map, because they can be appended durably and read without parsing (docs/benchmarks.md has
  the comparison with safetensors, LMDB and Zarr).
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from monai_fpt._files import file_sha256, write_whole
from monai_fpt.features._lock import try_lock
from monai_fpt.features.codec import RecordLayout, StoredImage
from monai_fpt.features.journal import FeatureEntry, preparation_facts, read_journal
from monai_fpt.features.spec import FeatureSpec

__all__ = ["CorruptCacheError", "FeatureEntry", "FeatureStore", "FeatureWriter", "preparation_facts"]

_FORMAT = "monai_fpt features"


class CorruptCacheError(RuntimeError):
    """Files of a cache are damaged."""


class FeatureStore:
    """A cache of features on disk, for one FeatureSpec.

    Args:
        path: the folder; made when the first image is written.
        spec: what the features must be; None takes the cache's own (the folder must exist then).
        strict: False opens a cache whose journal is damaged, for :meth:`verify`.

    Raises:
        FeatureSpecMismatchError: the folder holds features of another specification.
        FileNotFoundError: no cache there, and no spec to start one.
        CorruptCacheError: a damaged spec.json or journal.
    """

    def __init__(self, path: str | Path, spec: FeatureSpec | None = None, strict: bool = True) -> None:
        self.path = Path(path).expanduser().absolute()
        found = self._read_spec()
        if found is None and spec is None:
            raise FileNotFoundError(
                f'There is no feature cache in "{self.path}"; extract the features first, or check the path.'
            )
        if found is not None and spec is not None:
            spec.require_equal(found, f'in "{self.path}"')
        resolved = found or spec  # what is found may hold more tokens than asked for
        assert resolved is not None
        self.spec = resolved
        self.strict = strict
        self.layout = RecordLayout(resolved)
        self._maps: dict[str, mmap.mmap] = {}
        self._intact: set[FeatureEntry] = set()
        self._index: dict[str, dict[tuple[str, str], FeatureEntry]] = {}
        self.reload()

    def __len__(self) -> int:
        return sum(len(versions) for versions in self._index.values())

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[FeatureEntry]:
        return (entry for versions in self._index.values() for entry in versions.values())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # memory maps are opened anew in each process

    def keys(self) -> list[str]:
        """The keys of all images in the cache, in the order they were finished."""
        return list(self._index)

    def reload(self) -> None:
        """Read the journals again, for what other processes have finished since."""
        self._index = {}
        for journal in self._journals():
            entries, problems, _ = read_journal(journal)
            if problems and self.strict:
                raise CorruptCacheError(
                    f'The feature cache "{self.path}" is damaged: {problems[0]}. Run "monai-fpt cache verify" for all findings, delete '
                    f"parts/{journal.stem}.* and extract again; the other parts stay."
                )
            for entry in entries:
                self._remember(entry)

    def find(self, item: Mapping[str, Any]) -> FeatureEntry | None:
        """The entry of a data list item, or None if the image is not in the cache in its present content.

        Args:
            item: ``"key"``, and ``"image"``, the path of the file. A file that is gone (training does not need it)
                matches by key.
        """
        versions = self._index.get(str(item["key"]))
        if not versions:
            return None
        facts = preparation_facts(item)
        newest_first = [entry for entry in reversed(versions.values()) if entry.facts == facts]
        try:
            stat = os.stat(item["image"])
        except (OSError, KeyError):
            return newest_first[0] if newest_first else None
        exact = (
            stat.st_mtime_ns % 1_000_000_000 != 0
        )  # whole seconds come from archives, where many files share one time
        for entry in newest_first if exact else ():
            if (entry.size, entry.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                return entry
        return versions.get((file_sha256(item["image"]), facts)) if newest_first else None

    def read(self, entry: FeatureEntry) -> StoredImage:
        """One image's tensors; they share memory with the file and must not be written to.

        The checksum is compared at the first reading of each record in a process.

        Raises:
            CorruptCacheError: the record is not there, or damaged.
        """
        start = entry.row * self.layout.num_bytes
        buffer = self._map(entry.part, start + self.layout.num_bytes)
        if entry not in self._intact:
            if not self._is_intact(entry, buffer):
                raise CorruptCacheError(
                    f'The features of "{entry.key}" in "{self.path}" are damaged; run "monai-fpt cache verify", delete '
                    f"parts/{entry.part}.* and extract again."
                )
            self._intact.add(entry)
        return self.layout.decode(buffer, start)

    def _is_intact(self, entry: FeatureEntry, buffer: mmap.mmap) -> bool:
        start = entry.row * self.layout.num_bytes
        return zlib.crc32(memoryview(buffer)[start : start + self.layout.num_bytes]) == entry.crc32

    def writer(self) -> FeatureWriter:
        """A new part to append to; use it as a context manager."""
        self._write_spec()
        self._repair_torn_journals()
        return FeatureWriter(self)

    def verify(self) -> list[str]:
        """Read everything and compare checksums.

        Returns:
            one sentence per finding; empty if the cache is whole.
        """
        problems: list[str] = []
        for journal in self._journals():
            entries, found, torn = read_journal(journal)
            problems += found
            if torn:
                problems.append(
                    f"parts/{journal.name} ends in an unfinished line, as a killed extraction leaves it; the image is extracted again"
                )
            for entry in entries:
                try:
                    start = entry.row * self.layout.num_bytes
                    buffer = self._map(entry.part, start + self.layout.num_bytes)
                    intact = self._is_intact(entry, buffer)
                except CorruptCacheError as error:
                    problems.append(str(error))
                    continue
                if not intact:
                    problems.append(
                        f'the record of "{entry.key}" (row {entry.row} of parts/{entry.part}.bin) does not match its checksum'
                    )
        return problems

    def _repair_torn_journals(self) -> None:
        """Cut unfinished last lines of writers that are gone."""
        for journal in self._journals():
            whole = journal.read_bytes().rfind(b"\n") + 1
            if whole == journal.stat().st_size:
                continue
            try:
                with open(journal.with_suffix(".bin"), "r+b") as data:  # NFS locks exclusively what is open for writing
                    if try_lock(data):  # a living writer holds it; one that just finished has completed its line
                        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
            except (FileNotFoundError, PermissionError):
                continue  # its data are gone, and verify() says so; or it is another user's, who mends it

    def _remember(self, entry: FeatureEntry) -> None:
        versions = self._index.setdefault(entry.key, {})
        versions.pop((entry.sha256, entry.facts), None)
        versions[(entry.sha256, entry.facts)] = entry

    def _journals(self) -> list[Path]:
        return sorted((self.path / "parts").glob("*.jsonl"))

    def _map(self, part: str, size: int) -> mmap.mmap:
        if part not in self._maps or len(self._maps[part]) < size:
            path = self.path / "parts" / f"{part}.bin"
            try:
                with open(path, "rb") as file:
                    self._maps[part] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            except (OSError, ValueError) as error:
                raise CorruptCacheError(
                    f'parts/{part}.bin of the feature cache "{self.path}" is missing or empty'
                ) from error
            if len(self._maps[part]) < size:
                raise CorruptCacheError(
                    f'parts/{part}.bin of the feature cache "{self.path}" is shorter than its journal says'
                )
        return self._maps[part]

    def _read_spec(self) -> FeatureSpec | None:
        try:
            raw = (self.path / "spec.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            content = json.loads(raw.decode())
            spec = FeatureSpec.from_dict(content["spec"])
            whole = content["format"] == _FORMAT and content["fingerprint"] == spec.fingerprint
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptCacheError(
                f'"{self.path / "spec.json"}" is no specification of a feature cache ({error}); extract anew elsewhere.'
            ) from error
        if not whole:
            raise CorruptCacheError(
                f'"{self.path / "spec.json"}" does not match its own fingerprint; it was edited or damaged, extract anew elsewhere.'
            )
        return spec

    def _write_spec(self) -> None:
        (self.path / "parts").mkdir(parents=True, exist_ok=True)
        target = self.path / "spec.json"
        if target.exists():
            return
        content = {"format": _FORMAT, "fingerprint": self.spec.fingerprint, "spec": self.spec.to_dict()}
        write_whole(target, json.dumps(content, indent=1))


class FeatureWriter:
    """Appends finished images to a part of its own. Made by :meth:`FeatureStore.writer`."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._pending: list[tuple[dict[str, Any], bytes]] = []
        self.part, self._data = self._new_part(store.path / "parts")
        try_lock(self._data)
        self._journal = open(store.path / "parts" / f"{self.part}.jsonl", "xb", buffering=0)  # noqa: SIM115
        self._rows = 0

    def add(
        self,
        key: str,
        sha256: str,
        size: int,
        mtime_ns: int,
        features: Tensor,
        indices: Tensor,
        thumbnail: Tensor,
        tokens: Tensor | None = None,
        facts: str = "",
    ) -> None:
        """Take one finished image; it is durable after the next :meth:`flush`.

        Args:
            key, sha256, size, mtime_ns, facts: as of :class:`FeatureEntry`.
            features: (L, 2, H, M, D).
            indices: (L, H, M).
            thumbnail: (3, T, T) uint8.
            tokens: (rows, C), where the specification keeps tokens of the last layer.

        Raises:
            ValueError: features that cannot be stored; the image is not taken.
        """
        record = self._store.layout.encode(features, indices, thumbnail, tokens)
        entry = {"key": key, "sha256": sha256, "size": size, "mtime_ns": mtime_ns, "facts": facts}
        self._pending.append((entry, record))

    def flush(self) -> None:
        """Write and sync records, then their journal lines.

        Raises:
            OSError: the disk is full or fails; what was finished before stays whole.
        """
        data_end, journal_end = self._data.tell(), self._journal.tell()
        entries = [
            FeatureEntry(**facts, crc32=zlib.crc32(record), part=self.part, row=self._rows + i)
            for i, (facts, record) in enumerate(self._pending)
        ]
        try:
            for _, record in self._pending:
                _write_all(self._data, record)
            os.fsync(self._data.fileno())
            _write_all(self._journal, "".join(entry.to_line() for entry in entries).encode())
            os.fsync(self._journal.fileno())
        except BaseException:  # Ctrl-C too: a second attempt must not write behind a half-written first one
            for file, end in ((self._journal, journal_end), (self._data, data_end)):
                os.truncate(file.name, end)
                file.seek(end)
            raise
        self._rows += len(entries)
        self._pending.clear()
        for entry in entries:
            self._store._remember(entry)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, OSError):
                self.flush()
        finally:
            for file in (self._data, self._journal):
                file.close()
            if self._rows == 0:
                for suffix in ("jsonl", "bin"):
                    (self._store.path / "parts" / f"{self.part}.{suffix}").unlink(missing_ok=True)

    @staticmethod
    def _new_part(folder: Path) -> tuple[str, Any]:
        number = len(list(folder.glob("*.bin")))
        while True:
            while (folder / f"{number:05d}.jsonl").exists():  # a journal whose data are gone keeps its number
                number += 1
            try:
                return f"{number:05d}", open(folder / f"{number:05d}.bin", "xb", buffering=0)
            except FileExistsError:
                number += 1


def _write_all(file: Any, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
