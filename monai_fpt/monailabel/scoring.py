"""Active learning in MONAI Label: strategies that choose the next image, and the scoring that they read.

Decisions:

- A strategy reads the scores' file and computes distances of vectors; it asks no network and opens no image. So the next
  image comes in milliseconds, also while scoring or training is at work.
- Images that could not be read are never served, until their files have changed.
- Images with a final label are never served. One that was served is not served to another reader for a while, unless no
  other is left; whoever asks again without having labelled it gets another one, too.
- Before there is a trained model the choice is by diversity alone, whatever the strategy's name: an untrained network is
  as uncertain of one image as of another.
- Where no image was scored yet, the first one whose features are cached is served, else the first one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random

from monai_fpt.monailabel.active import FloatArray, k_centre_greedy, most_informative, uncertainty_of
from monai_fpt.monailabel.contents import file_state
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.scoring_board import ScoreBoard
from monai_fpt.monailabel.scoring_run import ImageScorer

__all__ = [
    "FPTActiveLearning",
    "FPTRandom",
    "FPTUncertaintyScoring",
    "ServedImages",
    "active_strategies",
    "usable_images",
]

_MEASURES = {
    "fpt_margin": "The least margin between the two likeliest classes, unlike what is labelled",
    "fpt_entropy": "The highest entropy of the classes, unlike what is labelled",
    "fpt_bald": "The most disagreement between passes with dropout, unlike what is labelled",
    "fpt_diverse": "The image that is least like all that are labelled (k-centre)",
}


class ServedImages:
    """Which images are in the hands of readers; one object for all strategies of an app.

    Args:
        hold: seconds for which an image that was served is not served again.
    """

    def __init__(self, hold: float = 600.0) -> None:
        self.hold = hold
        self.lock = threading.Lock()
        self._at: dict[str, float] = {}

    def held(self) -> set[str]:
        """Images that are held now."""
        now = time.monotonic()
        self._at = {image_id: at for image_id, at in self._at.items() if now - at < self.hold}
        return set(self._at)

    def serve(self, image_id: str) -> None:
        """Note that an image was served."""
        self._at[image_id] = time.monotonic()


class FPTActiveLearning(Strategy):  # type: ignore[misc]
    """Chooses the next image.

    Args:
        measure: ``"fpt_margin"``, ``"fpt_entropy"``, ``"fpt_bald"`` or ``"fpt_diverse"``.
        model: the present model.
        scorer: whose file is read.
        served: shared by the app's strategies.
        diversity: weight of the distance to what was taken, 0 to 1; see
            :func:`~monai_fpt.monailabel.active.most_informative`. A request may have its own.

    Raises:
        ValueError: an unknown measure.
    """

    def __init__(
        self, measure: str, model: PresentModel, scorer: ImageScorer, served: ServedImages, diversity: float = 0.5
    ) -> None:
        if measure not in _MEASURES:
            raise ValueError(f"The strategy {measure!r} is not one of {', '.join(_MEASURES)}.")
        super().__init__(_MEASURES[measure])
        self.measure, self.model, self.scorer, self.served, self.diversity = measure, model, scorer, served, diversity

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Choose.

        Args:
            request: may hold ``diversity``.
            datastore: the app's.

        Returns:
            ``{"id": ...}`` with ``measure``, and where it was scored ``uncertainty``, ``prediction`` (class to probability) and
            ``scored_with`` (version of the model); empty where every image has a label.

        Raises:
            ValueError: ``diversity`` is not between 0 and 1.
        """
        diversity = _weight(request.get("diversity", self.diversity))
        board = self.scorer.file.read()
        unlabelled = datastore.get_unlabeled_images()
        waiting = sorted(usable_images(unlabelled, datastore, self.model))
        if not waiting:
            return {}
        with self.served.lock:
            held = self.served.held()
            free = [image_id for image_id in waiting if image_id not in held] or waiting
            labelled = set(datastore.list_images()).difference(unlabelled)
            chosen = self._chosen(board, labelled | held, free, diversity)
            self.served.serve(str(chosen["id"]))
            return chosen

    def _chosen(
        self, board: ScoreBoard | None, covered: set[str], free: Sequence[str], diversity: float
    ) -> dict[str, Any]:
        rows = {} if board is None else board.rows()
        scored = {image_id for image_id in free if image_id in rows}
        if board is None or not scored:
            cached = (image_id for image_id in free if self.model.features.has(image_id))
            return {"id": next(cached, free[0]), "measure": "first"}
        taken = covered.intersection(rows) - scored  # not images that are gone: nobody has labelled those
        relevant = [row for image_id, row in rows.items() if image_id in scored or image_id in taken]
        near = board.only(relevant)
        blocked = [row for row, image_id in enumerate(near.ids) if image_id in taken]
        points = near.pooled.double().numpy()
        cold = not self.model.trained
        if cold or self.measure == "fpt_diverse":
            row = k_centre_greedy(points, blocked, 1)[0]
            return {"id": near.ids[row], "measure": "fpt_diverse"}
        doubt = self._uncertainty(near)
        row = most_informative(doubt, points, blocked, 1, diversity)[0]
        classes = self.model.card.classes
        return {
            "id": near.ids[row],
            "measure": self.measure,
            "uncertainty": float(doubt[row]),
            "prediction": dict(zip(classes, near.probabilities[row].tolist(), strict=True)),
            "scored_with": near.version,
        }

    def _uncertainty(self, board: ScoreBoard) -> FloatArray:
        if self.measure == "fpt_bald":
            return board.bald.double().numpy()
        measure = uncertainty_of(self.measure.removeprefix("fpt_"))
        return measure(board.probabilities.double().numpy(), task=self.model.card.task)


class FPTRandom(Random):  # type: ignore[misc]
    """MONAI Label's random choice, among the images that can be read.

    Args:
        model: the present model.
    """

    def __init__(self, model: PresentModel) -> None:
        super().__init__()
        self.model = model

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Choose; empty where every image has a label."""
        return super().__call__(request, _Usable(datastore, self.model)) or {}


class _Usable:
    """A datastore without the images that could not be read."""

    def __init__(self, datastore: Datastore, model: PresentModel) -> None:
        self._datastore, self._model = datastore, model

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        return usable_images(self._datastore.get_unlabeled_images(label_tag, labels), self._datastore, self._model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datastore, name)


def usable_images(image_ids: Sequence[str], datastore: Datastore, model: PresentModel) -> list[str]:
    """Images but those that could not be read, where their files are still what they were."""
    failed = model.features.failed()
    return [
        image_id
        for image_id in image_ids
        if image_id not in failed or file_state(datastore.get_image_uri(image_id)) != failed[image_id][0]
    ]


def _weight(value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if not 0 <= weight <= 1:
        raise ValueError(f"diversity={value} must be a number between 0 and 1.")
    return weight


class FPTUncertaintyScoring(ScoringMethod):  # type: ignore[misc]
    """Brings the scores of all images up to date; the datastore is not written to.

    Args:
        scorer: does the work.
    """

    def __init__(self, scorer: ImageScorer) -> None:
        super().__init__("Predictions, disagreement under dropout and pooled features of all images that were read")
        self.scorer = scorer

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score.

        Returns:
            ``total``, ``executed``, ``version`` and ``seconds``.
        """
        return self.scorer.refresh().to_dict()


def active_strategies(
    model: PresentModel, scorer: ImageScorer, diversity: float = 0.5, hold: float = 600.0
) -> dict[str, Strategy]:
    """The strategies of an app, by name.

    Args:
        model: the present model.
        scorer: the app's.
        diversity: see :class:`FPTActiveLearning`.
        hold: see :class:`ServedImages`.
    """
    served = ServedImages(hold)
    chosen = {name: FPTActiveLearning(name, model, scorer, served, diversity) for name in _MEASURES}
    return {**chosen, "random": FPTRandom(model)}
