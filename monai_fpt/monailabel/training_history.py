"""Which labels each training had: ``label_history.jsonl`` in the app's model folder.

One line when a training begins, with the label of every image, who gave it and when, and the section it lay in; one when it
makes a version, before that can answer; one when it ended, with what came of it. So a model can be told its labels years later, a label that was changed since shows as
changed, and the sections of earlier trainings are known to the next.

Decisions:

- Lines are only ever added, each in one write that is forced to the disk. A kill leaves at most a torn last line, which
  is recognised and ignored, and the next line begins on a line of its own.
- Only a training that made a version counts as having learned from images: what one learned that was refused, stopped or not
  better is gone. A slip in the patients that such a training met can therefore be mended without a trace.
- A table that is the same as the one before is not written again, only its digest.
- The file names images and patients. It stays beside the labels, readable by its owner, and nothing of it is tracked.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.monailabel.training_split import RecordedSections

__all__ = ["HISTORY_FILE", "LabelHistory"]

HISTORY_FILE = "label_history.jsonl"
_TABLE_FIELDS = ("key", "label", "group", "sha256", "annotator", "saved", "section")


class LabelHistory:
    """The history in a folder.

    Args:
        folder: the app's model folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / HISTORY_FILE

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines, oldest first."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for line in raw.split(b"\n"):
            try:
                content = json.loads(line)
            except ValueError:
                continue  # torn by a kill, or the empty rest behind the last line
            if isinstance(content, dict):
                found.append(content)
        return found

    def tables(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Training and its label table, oldest first; a repeated table is given again."""
        by_digest: dict[str, list[dict[str, Any]]] = {}
        found = []
        for line in self.lines():
            if line.get("event") == "began":
                if line.get("labels") is not None:
                    by_digest[line["digest"]] = line["labels"]
                found.append((str(line["training"]), by_digest.get(line["digest"], [])))
        return found

    def published(self) -> set[str]:
        """Trainings that made a version, or were about to when they were killed."""
        made = (line for line in self.lines() if line.get("event") == "publishes" or line.get("published") is True)
        return {str(line.get("training")) for line in made}

    def unfinished(self) -> list[str]:
        """Trainings that began and did not end, oldest first: one that is under way, and those that were killed."""
        lines = self.lines()
        ended = {line.get("training") for line in lines if line.get("event") == "ended"}
        return [str(x["training"]) for x in lines if x.get("event") == "began" and x["training"] not in ended]

    def recorded(self) -> RecordedSections:
        """Images, patients and contents of all trainings that made a version, with the section they lay in."""
        found: dict[str, dict[str, str]] = {"key": {}, "group": {}, "sha256": {}}
        made = self.published()
        for row in (row for training, table in self.tables() if training in made for row in table):
            for name, sections in found.items():
                value = row.get(name)
                if value is not None and sections.get(value) != "training":
                    sections[value] = row["section"]
        return RecordedSections(*found.values())

    def began(
        self, training: str, items: Sequence[Mapping[str, Any]], sections: Mapping[str, str], classes: Sequence[str]
    ) -> str:
        """Write that a training begins.

        Args:
            training: its name.
            items: of a data list; ``group``, ``sha256``, ``annotator`` and ``saved`` are kept where known.
            sections: key to section; an image without one is not trained on.
            classes: names of the classes.

        Returns:
            The digest of the label table.
        """
        table = [
            {
                name: value
                for name in _TABLE_FIELDS
                if (value := (item | {"section": sections.get(str(item["key"]))}).get(name)) is not None
            }
            for item in (dict(item) for item in sorted(items, key=lambda item: str(item["key"])))
        ]
        digest = hashlib.sha256(json.dumps([list(classes), table], sort_keys=True).encode()).hexdigest()
        known = any(line.get("digest") == digest and line.get("labels") is not None for line in self.lines())
        self._append(
            {
                "event": "began",
                "training": training,
                "time": _now(),
                "classes": list(classes),
                "count": len(table),
                "digest": digest,
                "labels": None if known else table,
            }
        )
        return digest

    def publishes(self, training: str) -> None:
        """Write that a training is about to make a version: after a kill it is known to have learned."""
        self._append({"event": "publishes", "training": training, "time": _now()})

    def ended(self, training: str, outcome: Mapping[str, Any]) -> None:
        """Write what came of it."""
        self._append({"event": "ended", "training": training, "time": _now(), **outcome})

    def _append(self, content: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, ensure_ascii=False).encode() + b"\n"
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                text = b"\n" + text
            view = memoryview(text)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
