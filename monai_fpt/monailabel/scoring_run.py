"""Scoring: ask the present model about every image whose features are cached, and keep what it says for the strategies.

Decisions:

- No image is opened and no backbone runs: an image that nobody has read yet is scored when its features are there.
- Only what is new is asked: other images, other content, another version of the model.
- It works in pieces of a few images and yields between them, so that readers' requests are answered meanwhile; strategies
  never wait for it.
- One scoring at a time in a process; a second call finds what the first has written and does the rest.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import Any

import torch

from monai_fpt.monailabel.active import bald_uncertainty, dropout_passes
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.scoring_board import ScoreBoard, ScoreFile

__all__ = ["ImageScorer", "ScoringReport"]

logger = logging.getLogger(__name__)
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class ScoringReport:
    """What a scoring did.

    Attributes:
        total: images with cached features.
        executed: images that were scored.
        version: of the model.
        seconds: wall time.
    """

    total: int
    executed: int
    version: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


class ImageScorer:
    """Scores the images of an app.

    Args:
        model: the present model and the features it reads.
        passes: with dropout, for BALD.
    """

    def __init__(self, model: PresentModel, passes: int = 10) -> None:
        self.model = model
        self.passes = passes
        self.file = ScoreFile(model.model_dir)
        self._one = threading.Lock()
        self._gate = threading.Lock()  # of the two below
        self._wanted = False
        self._thread: threading.Thread | None = None

    def refresh_later(self) -> None:
        """Have the scores brought up to date by a thread of this process; returns at once. Calls that come while it works
        become one more run."""
        with self._gate:
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fpt-scoring", daemon=True)
                self._thread.start()

    def refresh(self) -> ScoringReport:
        """Bring the scores up to date.

        Raises:
            OSError: the file cannot be written.
        """
        with self._one:
            return self._refresh()

    def _refresh(self) -> ScoringReport:
        began = time.monotonic()
        now, features = self.model.present(), self.model.features
        predictor, version = now.predictor, now.number  # of one object: another may be published at any moment
        present = {image_id: entry.sha256 for image_id in features.ids() if (entry := features.entry(image_id))}
        known = self.file.read()
        width, classes = features.spec.num_heads * features.spec.head_dim, len(predictor.card.classes)
        boards = [ScoreBoard.empty(version, width, classes)]
        if known is not None and known.version == version and known.probabilities.shape[1] == classes:
            kept = [r for r, name in enumerate(known.ids) if present.get(name) == known.fingerprints[r]]
            boards = [known.only(kept)]
        done = set(boards[0].ids)
        missing = [image_id for image_id in present if image_id not in done]
        generator = torch.Generator().manual_seed(0)
        for start in range(0, len(missing), _BATCH):
            ids = missing[start : start + _BATCH]
            boards.append(self._asked(predictor, ids, [present[i] for i in ids], version, generator))
            time.sleep(0)  # lets readers' threads go first
        board = ScoreBoard.joined(boards)
        if missing or known is None or len(board) != len(known) or known.version != version:
            self.file.write(board)
        return ScoringReport(len(present), len(missing), version, time.monotonic() - began)

    def _asked(
        self, predictor: Any, ids: list[str], fingerprints: list[str], version: int, generator: torch.Generator
    ) -> ScoreBoard:
        features, network, task = self.model.features, predictor.network, predictor.card.task
        thumbnails, kept = features.get(ids)
        side = features.side_images(thumbnails, network.side_size)
        passes = self.passes if network.config.dropout > 0 else 0
        with torch.no_grad():
            sure, drawn = dropout_passes(network, side.to(predictor.device), kept, passes, generator)
        squash = torch.sigmoid if task == "multilabel" else lambda logits: torch.softmax(logits, dim=-1)
        bald = torch.zeros(len(ids))
        if passes:
            bald = torch.from_numpy(bald_uncertainty(squash(drawn.double()).cpu().numpy(), task=task)).float()
        probabilities = squash(sure.double()).float().cpu()
        return ScoreBoard(version, tuple(ids), tuple(fingerprints), features.tokens(ids), probabilities, bald)

    def _work(self) -> None:
        while True:
            with self._gate:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                report = self.refresh()
                if report.executed:
                    logger.info("Scored %d of %d images in %.1f s.", report.executed, report.total, report.seconds)
            except Exception as error:  # scores are a help; without them images are served in order
                logger.warning("Scoring failed and the scores before stay: %s", error)
