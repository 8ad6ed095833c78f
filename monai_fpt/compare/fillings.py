"""What it took to fill the caches of a comparison, told of all its starts together.

    COMPARE/extraction.json     [{"cache": folder's name, "images": read, "seconds": of reading them}, ...], written at every filling

A filling that was broken off is not in it; the start that ended it counts the images that were left.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_fpt.experiments._write import write_json

__all__ = ["EXTRACTION_FILE", "CacheFillings"]

EXTRACTION_FILE = "extraction.json"


class CacheFillings:
    """Images and seconds by cache; in memory alone until :meth:`keep_in`."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, float]] = {}
        self._file: Path | None = None

    def add(self, cache: str, images: int, seconds: float) -> None:
        """Count a filling of a cache (its folder's name)."""
        earlier, before = self._of.get(cache, (0, 0.0))
        self._of[cache] = (earlier + images, before + seconds)
        self._write()

    def keep_in(self, folder: Path) -> None:
        """Add what earlier starts left in the comparison's folder, and keep everything there from now on."""
        path = folder / EXTRACTION_FILE
        mine, self._of = self._of, {}
        if path.is_file():
            for one in json.loads(path.read_text(encoding="utf-8")):
                self.add(str(one["cache"]), int(one["images"]), float(one["seconds"]))
        self._file = path
        for cache, (images, seconds) in mine.items():
            self.add(cache, images, seconds)

    def told(self) -> list[dict[str, Any]]:
        """One entry a cache, in the order they were first filled."""
        return [{"cache": cache, "images": images, "seconds": seconds} for cache, (images, seconds) in self._of.items()]

    def _write(self) -> None:
        if self._file is not None:
            write_json(self._file, self.told())
