"""PresentModel: the model that answers now. It follows what training publishes, without a restart.

Decisions:

- Every question looks at the pointer of :mod:`~monai_fpt.monailabel.training_publish` (one small file). A version that
  cannot be loaded, or a pointer that names none, is said in the log and in ``GET /info/``, and the model before goes on answering.
- A model, its number and its folder are one object, exchanged in one step: who takes it cannot tell the answer of one version under
  the number of another.
- All versions share one frozen backbone in memory and one cache of features. A version on another backbone or with another
  preparation is refused: its answers would need other features.
- Images of the studies are answered from the cached features, images that a client sends along by a backbone pass of their
  own; both through the same network.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.features import StudyFeatures, study_spec
from monai_fpt.monailabel.training_publish import is_trained, present_version, version_dir
from monai_fpt.networks import FPTClassifier
from monai_fpt.registry import FPTAnswer, FPTPredictor
from monai_fpt.registry.predictor import ADAPTER_FILE, MODEL_FILE
from monai_fpt.visualize import FPTAttention, attention_maps

__all__ = ["Asked", "ModelVersion", "PresentModel", "load_predictor"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the network reads of one image.

    Attributes:
        thumbnail: (1, 3, T, T) uint8.
        features: (1, L, 2, H, M, D).
        indices: (1, L, H, M).
    """

    thumbnail: Tensor
    features: Any
    indices: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class ModelVersion:
    """One version of the model, whole.

    Attributes:
        number: 0 is the one that the user put there.
        folder: where it lies.
        predictor: answers.
        trained: whether it has learned anything.
    """

    number: int
    folder: Path
    predictor: FPTPredictor
    trained: bool


def load_predictor(folder: str | Path, backbone_weights: str | None = None, device: str = "cpu") -> FPTPredictor:
    """The predictor of a model's folder; of one that was described but not trained, with weights as they are initialised.

    Raises:
        FileNotFoundError: there is no model, or not its backbone.
        ValueError: files that are not whole.
    """
    if is_trained(folder):
        return FPTPredictor.from_folder(folder, backbone_weights, device)
    card = FPTModelCard.load(Path(folder) / "model.json")
    config = (
        card.network
        if backbone_weights is None
        else dataclasses.replace(card.network, backbone_weights=backbone_weights)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = FPTClassifier(config)
    return FPTPredictor(card, network.to(device))


class PresentModel:
    """The present model of an app and the features it reads. Threads may use one object at the same time.

    Args:
        model_dir: the app's model folder.
        cache_dir: the folder of the cache.
        backbone_weights: where the backbone's weights lie; by default where the model says.
        device: where the network computes.

    Raises:
        FileNotFoundError: there is no model, or not its backbone.
        ValueError: files that are not whole, or a cache of another model.
    """

    def __init__(
        self, model_dir: str | Path, cache_dir: str | Path, backbone_weights: str | None = None, device: str = "cpu"
    ) -> None:
        self.model_dir = Path(model_dir)
        self.backbone_weights = backbone_weights
        self.device = device
        self._lock = threading.Lock()
        self._now = self._load(present_version(self.model_dir))
        self.features = StudyFeatures(self._now.predictor, cache_dir)
        self._failed = -1
        self._problem: str | None = None

    def present(self) -> ModelVersion:
        """The present model, loaded anew where another was published since. Take it once for all that belongs together."""
        now = self._now
        try:
            number = present_version(self.model_dir)
        except (ValueError, OSError) as error:
            self._say(f"Version {now.number} of the model stays: {error}")
            return now
        if number == now.number:
            self._problem = None
        elif number != self._failed and self._lock.acquire(blocking=False):  # while one loads it, all others go on
            try:
                if number not in (self._now.number, self._failed):
                    self._exchange(number)
            finally:
                self._lock.release()
        return self._now

    def follow(self) -> ModelVersion:
        """The same, but what was published by now answers when this returns, whoever loads it; for who has published it."""
        self.present()
        with self._lock:  # of another who was loading it
            return self._now

    @property
    def problem(self) -> str | None:
        """Why what the pointer names is not the model that answers; None where it is."""
        self.present()
        return self._problem

    @property
    def predictor(self) -> FPTPredictor:
        """Of the present model."""
        return self.present().predictor

    @property
    def version(self) -> int:
        """Number of the present model."""
        return self.present().number

    @property
    def card(self) -> FPTModelCard:
        """Facts of the present model."""
        return self.present().predictor.card

    @property
    def trained(self) -> bool:
        """Whether the present model has learned anything."""
        return self.present().trained

    def weights_file(self) -> str | None:
        """The file of the present weights; None before the first training."""
        folder = self.present().folder
        return next((str(folder / name) for name in (MODEL_FILE, ADAPTER_FILE) if (folder / name).is_file()), None)

    def study(self, image_id: str, path: str | Path) -> Asked:
        """What the network reads of an image of the studies, from the cache; a backbone pass where it is not there yet.

        Raises:
            ImageReadError: the file cannot be read.
            ValueError: it cannot be prepared as in the training.
        """
        self.features.ensure(image_id, path)
        thumbnails, features = self.features.get([image_id])
        return Asked(thumbnails, features, self.features.indices([image_id]))

    def sent(self, path: str | Path) -> Asked:
        """The same of an image that a client sent along; nothing of it is kept."""
        thumbnail, features, indices = self.features.compute(self.predictor.read(path))
        return Asked(thumbnail, features, indices)

    def answer(self, asked: Asked, version: ModelVersion | None = None) -> FPTAnswer:
        """Probabilities and names, of the present model or of the version that the caller has taken."""
        predictor = (version or self.present()).predictor
        side, features = self._inputs(predictor, asked)
        with torch.no_grad():
            logits = predictor.network(side, features).float().cpu()
        return predictor.answers_of(logits)[0]

    def attention(self, asked: Asked, class_name: str, version: ModelVersion | None = None) -> FPTAttention:
        """Where the network looked for evidence of a class; ``version`` as of :meth:`answer`.

        Raises:
            ValueError: no such class.
        """
        predictor = (version or self.present()).predictor
        if class_name not in predictor.card.classes:
            raise ValueError(
                f"The model has no class {class_name!r}; its classes are {', '.join(predictor.card.classes)}."
            )
        side, features = self._inputs(predictor, asked)
        return attention_maps(
            predictor.network, features, asked.indices.to(side.device), side, predictor.card.classes.index(class_name)
        )

    def _inputs(self, predictor: FPTPredictor, asked: Asked) -> tuple[Tensor, Any]:
        side = self.features.side_images(asked.thumbnail, predictor.network.side_size).to(predictor.device)
        features = asked.features
        return side, features.to(side.device) if isinstance(features, Tensor) else features

    def _load(self, number: int) -> ModelVersion:
        folder = version_dir(self.model_dir, number)
        if not (folder / "model.json").is_file():
            raise FileNotFoundError(
                f'There is no model in "{folder}"; start the server with --conf model FOLDER (a run\'s folder or a package), or with '
                "--conf classes and --conf backbone_weights to begin without one."
            )
        predictor = load_predictor(folder, self.backbone_weights, self.device)
        return ModelVersion(number, folder, predictor, is_trained(folder))

    def _exchange(self, number: int) -> None:
        try:
            loaded = self._load(number)
            predictor = loaded.predictor
            self.features.spec.require_equal(study_spec(predictor.card, predictor.network), "of this app")
        except Exception as error:  # whatever is wrong with it, the model before goes on
            self._failed = number
            self._say(f"Version {number} of the model cannot be used, version {self._now.number} stays: {error}")
            return
        predictor.network.backbone = self.features.backbone  # the same weights: one copy in memory
        self._now, self._failed, self._problem = loaded, -1, None
        logger.info("Version %s of the model answers now.", number)

    def _say(self, problem: str) -> None:
        if problem != self._problem:  # each question would say it again
            logger.error("%s", problem)
        self._problem = problem
