"""FPTPredictor: a trained model and everything between a file and its answer.

One object serves the model registry, the server and the label application, so that all give the same numbers: the
reader's options and the preparation come from ``model.json``, then the square resize, the normalisation and the network,
exactly the chain of the bundle's ``inference.json``.

Decisions:

- A folder is enough: a run's (``model.pt``) or a package's (``adapter.safetensors``), each with its ``model.json``. Only the
  backbone may lie elsewhere, and it is checked: an adapter that does not name its backbone, or names another, is refused.
- A calibration is of the very weights that are loaded. One of others is refused; one of an older version, which does not say of
  which it is, is left out with a warning, so that no answer is called calibrated that nobody can vouch for.
- Several threads may ask at once, as MLflow's server does. Reading is concurrent; the network is used by one thread at
  a time, for the tap of the frozen backbone hangs hooks on shared modules.
- The images of a call go through the network together, at most ``batch_size`` at once.
"""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import Compose
from safetensors.torch import load_file
from torch import Tensor

from monai_fpt.data import FPTImageReader, FPTLoadImaged, ImageReadError
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.metrics.operating import fpt_questions
from monai_fpt.metrics.weights import fpt_weights_sha256
from monai_fpt.networks import BackboneMismatchError, FPTClassifier
from monai_fpt.registry.backbone import FPTBackboneReference, local_weights
from monai_fpt.transforms import FPTNormalized, FPTResized, fpt_describe, fpt_transforms
from monai_fpt.visualize import image_attention_maps

__all__ = [
    "ADAPTER_FILE",
    "BACKBONE_FILE",
    "CALIBRATION_FILE",
    "CARD_FILE",
    "MODEL_FILE",
    "FPTAnswer",
    "FPTPredictor",
    "load_adapter",
]

CARD_FILE = "model.json"
MODEL_FILE = "model.pt"
ADAPTER_FILE = "adapter.safetensors"
BACKBONE_FILE = "backbone.json"
CALIBRATION_FILE = "calibration.json"


@dataclasses.dataclass(frozen=True)
class FPTAnswer:
    """What a model says about one image.

    Attributes:
        classes: names of the K classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        logits: K numbers.
        probabilities: K numbers in [0, 1].
        calibrated: the same after temperature scaling; None for a model without calibration.
        predicted: names of the classes: exactly one of exclusive ones, those of 0.5 and more of several.
        passed: ``"question/rule"`` of the validation's operating points, and whether the image is at its threshold or above;
            None without calibration, or where the thresholds are for patients and not for images.
    """

    classes: tuple[str, ...]
    task: str
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    calibrated: tuple[float, ...] | None
    predicted: tuple[str, ...]
    passed: Mapping[str, bool] | None = None


class FPTPredictor:
    """A trained model that is asked with files. Made by :meth:`from_folder`.

    Args:
        card: facts of the model.
        network: with its weights, in eval mode.
        calibration: temperature and thresholds; None where there are none.
        batch_size: images that go through the network at once.

    Raises:
        ValueError: this version would read or prepare images otherwise than the training did, or the calibration is for other
            classes or other weights.
    """

    def __init__(
        self,
        card: FPTModelCard,
        network: FPTClassifier,
        calibration: FPTCalibration | None = None,
        batch_size: int = 8,
    ) -> None:
        if calibration is not None and (calibration.classes, calibration.task) != (card.classes, card.task):
            raise ValueError(
                f"The calibration is for {list(calibration.classes)} ({calibration.task}), the model has {list(card.classes)} "
                f"({card.task}); fit it on this model's validation predictions."
            )
        fitted_for = "" if calibration is None else calibration.weights_sha256
        if fitted_for and fitted_for != (own := fpt_weights_sha256(network)):
            raise ValueError(
                f"The calibration was fitted for other weights ({fitted_for[:12]}) than those of the model ({own[:12]}); evaluate the "
                f"validation section with this model, or remove {CALIBRATION_FILE}."
            )
        self.card = card
        self.network = network.eval()
        self.calibration = calibration
        self.batch_size = batch_size
        self.device = next(network.fusion.parameters()).device
        mean_std = card.normalization(network.backbone.mean, network.backbone.std)
        reading = [FPTLoadImaged("image", FPTImageReader(**card.reader)), *fpt_transforms(card.preparing)]
        resizing = FPTResized("image", card.network.image_size)
        card.require_preprocessing(fpt_describe(Compose([*reading, resizing])))
        self._reading = Compose(reading)
        self._finishing = Compose([resizing, FPTNormalized("image", **mean_std)])
        self._lock = threading.Lock()

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        backbone_weights: str | Path | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 8,
    ) -> FPTPredictor:
        """Load the model of a run's folder or of a package.

        Args:
            folder: holds ``model.json`` and ``model.pt`` or ``adapter.safetensors``; ``calibration.json`` is used where it is.
            backbone_weights: where the frozen backbone's weights lie on this machine: a file, a folder of files, or ``"timm"``;
                by default where the model says, see :func:`~monai_fpt.registry.backbone.local_weights`.
            device: where the network computes.
            batch_size: images that go through the network at once.

        Raises:
            FileNotFoundError: no model is there, or its backbone is not.
            BackboneMismatchError: the backbone found has other weights than that of the training.
            ValueError: files that are not whole, a calibration of other weights, or images would be prepared otherwise than in the
                training.

        Warns:
            UserWarning: the calibration does not say of which weights it is, and is left out.
        """
        folder = Path(folder)
        card = FPTModelCard.load(folder / CARD_FILE).require_features()
        state = load_adapter(folder)
        weights = card.network.backbone_weights
        if (folder / BACKBONE_FILE).is_file():
            weights = local_weights(FPTBackboneReference.load(folder / BACKBONE_FILE), folder, backbone_weights)
        elif backbone_weights is not None:
            weights = str(backbone_weights)
        network = FPTClassifier(dataclasses.replace(card.network, backbone_weights=weights))
        _load_state(network, state, folder)
        return cls(card, network.to(device), _calibration(folder / CALIBRATION_FILE), batch_size)

    def read(self, file: str | Path, frame: int | None = None) -> Tensor:
        """Read and prepare one image file as the training did, up to the resize.

        Args:
            file: in any format that :func:`~monai_fpt.data.read_medical_image` reads.
            frame: which frame or slice of a file of several; by default as in the training.

        Returns:
            float32 (3, H, W) in [0, 1].

        Raises:
            ImageReadError: the file cannot be read.
        """
        item: dict[str, Any] = {"image": str(file)}
        if frame is not None:
            item["frame"] = int(frame)
        try:
            image = self._reading(item)["image"]
        except Exception as error:
            raise _cause(error) from error
        return torch.as_tensor(image).as_subclass(Tensor)

    def finish(self, image: Tensor) -> Tensor:
        """What :meth:`read` gave as the network reads it: float32 (3, image_size, image_size), normalised."""
        try:
            finished = self._finishing({"image": image})["image"]
        except Exception as error:
            raise _cause(error) from error
        return torch.as_tensor(finished).as_subclass(Tensor)

    def prepare(self, file: str | Path, frame: int | None = None) -> Tensor:
        """:meth:`read` and :meth:`finish` in one."""
        return self.finish(self.read(file, frame))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Ask the network.

        Args:
            images: (B, 3, image_size, image_size) as :meth:`prepare` gives them.

        Returns:
            float32 (B, K) on the CPU.
        """
        with self._lock:
            parts = [self.network(part.to(self.device)).float().cpu() for part in torch.split(images, self.batch_size)]
        return torch.cat(parts)

    def answers(self, images: Tensor) -> list[FPTAnswer]:
        """Ask the network and turn its logits into probabilities and names; one answer an image."""
        return self.answers_of(self.logits(images))

    def answers_of(self, told: Tensor) -> list[FPTAnswer]:
        """Turn logits (B, K) that the network gave into probabilities and names; one answer an image."""
        logits = told.double().numpy()
        rows = range(len(logits))
        asked = FPTPredictions(
            keys=tuple(map(str, rows)),
            groups=tuple(map(str, rows)),
            labels=np.zeros(
                (len(logits), *(logits.shape[1:] if self.card.task == "multilabel" else ())), dtype=np.int64
            ),
            logits=logits,
            classes=self.card.classes,
            task=self.card.task,
        )
        probabilities = asked.probabilities()
        calibrated = None if self.calibration is None else asked.probabilities(self.calibration.temperature)
        passed = self._passed(calibrated)
        return [
            FPTAnswer(
                classes=self.card.classes,
                task=self.card.task,
                logits=tuple(logits[row].tolist()),
                probabilities=tuple(probabilities[row].tolist()),
                calibrated=None if calibrated is None else tuple(calibrated[row].tolist()),
                predicted=self._predicted(probabilities[row]),
                passed=None if passed is None else {name: bool(yes[row]) for name, yes in passed.items()},
            )
            for row in rows
        ]

    def heat_map(self, image: Tensor, class_name: str) -> Tensor:
        """Where the network looked for evidence of a class.

        Args:
            image: (3, image_size, image_size) as :meth:`prepare` gives it.
            class_name: one of the model's classes.

        Returns:
            (rows, columns) in [0, 1] on the CPU: one number for each patch of the square image.

        Raises:
            ValueError: the model has no such class.
            RuntimeError: the map would not show this network.
        """
        if class_name not in self.card.classes:
            raise ValueError(f"The model has no class {class_name!r}; its classes are {', '.join(self.card.classes)}.")
        target = self.card.classes.index(class_name)
        with self._lock:
            return image_attention_maps(self.network, image.to(self.device), target).heat()[0, 0].cpu()

    def predict(self, files: Sequence[str | Path]) -> list[FPTAnswer]:
        """Read files and ask the network; one answer a file.

        Raises:
            ImageReadError: a file cannot be read.
        """
        return self.answers(torch.stack([self.prepare(file) for file in files])) if files else []

    def _passed(self, calibrated: npt.NDArray[np.float64] | None) -> dict[str, npt.NDArray[np.bool_]] | None:
        """Operating point to (N,) answers."""
        if calibrated is None or self.calibration is None or self.calibration.aggregate is not None:
            return None
        questions = fpt_questions(self.card.classes, task=self.card.task, ordered=self.calibration.ordered)
        values = {question.name: question.values(calibrated) for question in questions}
        return {
            name: np.asarray(values[name.rpartition("/")[0]] >= at) for name, at in self.calibration.thresholds.items()
        }

    def _predicted(self, probabilities: npt.NDArray[np.float64]) -> tuple[str, ...]:
        if self.card.task == "multilabel":
            return tuple(name for name, value in zip(self.card.classes, probabilities, strict=True) if value >= 0.5)
        return (self.card.classes[int(probabilities.argmax())],)


def load_adapter(folder: Path) -> dict[str, Tensor]:
    """What was learned, from a package or a run's folder; nothing is unpickled.

    Raises:
        FileNotFoundError: there is neither file.
        ValueError: the file is no adapter that names its backbone.
    """
    path = folder / ADAPTER_FILE if (folder / ADAPTER_FILE).is_file() else folder / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no trained model in "{folder}" (neither {ADAPTER_FILE} nor {MODEL_FILE}); train one first, or give its folder.'
        )
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f'"{path}" cannot be read as weights ({type(error).__name__}); it is broken or truncated: copy it again.'
        ) from error
    if not isinstance(state, Mapping) or not isinstance(state.get("backbone_id"), Tensor):
        raise ValueError(
            f'"{path}" does not name its backbone, so it cannot be checked; train or import the model again.'
        )
    return dict(state)


def _calibration(path: Path) -> FPTCalibration | None:
    """What was fitted for weights that it names; None where there is none."""
    if not path.is_file():
        return None
    calibration = FPTCalibration.load(path)
    if calibration.weights_sha256:
        return calibration
    warnings.warn(
        f'"{path}" does not say of which weights it is (an older version wrote it), so it is not used and there are no calibrated '
        "probabilities; evaluate the validation section again, and register the model again.",
        stacklevel=3,
    )
    return None


def _load_state(network: FPTClassifier, state: Mapping[str, Tensor], folder: Path) -> None:
    try:
        network.load_state_dict(state)
    except BackboneMismatchError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f'The weights in "{folder}" do not fit its {CARD_FILE} ({str(error).splitlines()[-1].strip()}); restore the folder.'
        ) from error


def _cause(error: BaseException) -> BaseException:
    """The reader's own sentence, from within the exceptions that MONAI wraps it in; else the innermost exception."""
    found = error
    while found.__cause__ is not None and not isinstance(found, ImageReadError):
        found = found.__cause__
    return found
