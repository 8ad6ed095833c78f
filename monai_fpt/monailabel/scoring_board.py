"""What is known of the images that wait for a reader: one side file, ``active_scores.safetensors``, in the app's model folder.

It is written by whoever scores and read by whoever chooses, in another process or not. The datastore's own files are not
touched: labels and scores have different writers, and a label must never lose against a score. The file appears whole or not
at all, and is read again only when it was replaced.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from monai_fpt._files import whole_file

__all__ = ["SCORES_FILE", "ScoreBoard", "ScoreFile"]

SCORES_FILE = "active_scores.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreBoard:
    """Scores of N images.

    Attributes:
        version: of the model that was asked.
        ids: of the images.
        fingerprints: of their content, as the cache names it; another one, and the image is scored anew.
        pooled: float32 (N, C), see :meth:`StudyFeatures.tokens <monai_fpt.monailabel.features.StudyFeatures.tokens>`.
        probabilities: float32 (N, K).
        bald: float32 (N,), disagreement of passes with dropout, in nats.
    """

    version: int
    ids: tuple[str, ...]
    fingerprints: tuple[str, ...]
    pooled: Tensor
    probabilities: Tensor
    bald: Tensor

    @classmethod
    def empty(cls, version: int, width: int, classes: int) -> ScoreBoard:
        """Of no image."""
        return cls(version, (), (), torch.empty(0, width), torch.empty(0, classes), torch.empty(0))

    def rows(self) -> dict[str, int]:
        """Id to row."""
        return {image_id: row for row, image_id in enumerate(self.ids)}

    def only(self, rows: list[int]) -> ScoreBoard:
        """Of these rows."""
        return ScoreBoard(
            self.version,
            tuple(self.ids[row] for row in rows),
            tuple(self.fingerprints[row] for row in rows),
            self.pooled[rows],
            self.probabilities[rows],
            self.bald[rows],
        )

    @classmethod
    def joined(cls, boards: Sequence[ScoreBoard]) -> ScoreBoard:
        """All of them, at least one; they are of one version and have no image in common."""
        return cls(
            boards[0].version,
            tuple(image_id for board in boards for image_id in board.ids),
            tuple(fingerprint for board in boards for fingerprint in board.fingerprints),
            torch.cat([board.pooled for board in boards]),
            torch.cat([board.probabilities for board in boards]),
            torch.cat([board.bald for board in boards]),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


class ScoreFile:
    """The file in a folder.

    Args:
        folder: the app's model folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / SCORES_FILE
        self._read: tuple[tuple[int, int, int], ScoreBoard] | None = None

    def write(self, board: ScoreBoard) -> None:
        """Replace it."""
        told = {"version": board.version, "ids": board.ids, "fingerprints": board.fingerprints}
        tensors = {name: getattr(board, name).float().contiguous() for name in ("pooled", "probabilities", "bald")}
        with whole_file(self.path) as beside:
            save_file(tensors, beside, {"board": json.dumps(told)})

    def read(self) -> ScoreBoard | None:
        """What was written last; None where nothing was, or the file is broken, for scores can be made again."""
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._read
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            with safe_open(str(self.path), "pt") as file:
                told = json.loads(file.metadata()["board"])
                tensors = {name: file.get_tensor(name) for name in ("pooled", "probabilities", "bald")}
            board = ScoreBoard(int(told["version"]), tuple(told["ids"]), tuple(told["fingerprints"]), **tensors)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
        self._read = (stamp, board)
        return board
