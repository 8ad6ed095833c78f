"""FPTCalibration: what is fitted on validation images once a network is trained, and stays with it as ``calibration.json``.

Decisions:

* **One temperature.** Logits are divided by it so that probabilities mean what they say (Guo et al. 2017, arXiv 1706.04599). It
  minimises the mean negative log-likelihood of the validation images; for several findings all share it. It changes neither
  the most probable class nor the ranking by one finding.
* **Where there is no best temperature** (every validation image is right, so that more certainty always looks better; or the logits
  say less than nothing) it stays 1, and ``remarks`` says so. An absurd temperature is never used silently.
* **Thresholds** answer the questions of :mod:`.operating` on *calibrated* probabilities, of images or, with ``aggregate``, of
  patients. They are chosen on the same validation images, hence only numbers of other images at these thresholds count.
* ``keys_digest`` and ``contents_digest`` name the images it was fitted on, so that a report on the very same ones can say what it is
  worth, whatever the logits are there.
* ``weights_sha256`` names the weights whose logits it was fitted on. It means nothing for others, and is refused with them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from monai_fpt._files import write_whole
from monai_fpt.metrics.operating import fpt_questions, fpt_thresholds
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits, scored_units

__all__ = ["FPTCalibration", "fit_calibration", "predictions_digest"]

_FORMAT = "monai_fpt calibration"
_VERSION = 2  # 2 added weights_sha256, keys_digest and contents_digest; without them they are unknown
_RANGE = (1e-3, 1e3)  # of temperatures looked at
_FEW = 50


@dataclasses.dataclass(frozen=True)
class FPTCalibration:
    """Temperature and thresholds of a trained network.

    Attributes:
        temperature: logits are divided by it before softmax or sigmoid.
        thresholds: ``"question/rule"`` to a threshold in [0, 1] of calibrated probabilities, see
            :func:`~monai_fpt.metrics.operating.fpt_questions` and ``RULES``; a question without positives or negatives has none.
        classes: names of the K classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        ordered: whether the order of the classes means something.
        aggregate: what the thresholds are for: ``"mean"`` or ``"max"`` of a patient's images; None: single images.
        images: number of validation images.
        patients: number of validation patients.
        nll: mean negative log-likelihood of the validation images before and after.
        digest: of the validation images and their logits.
        remarks: what must be known before this is relied on.
        weights_sha256: of the network, see :func:`~monai_fpt.metrics.fpt_weights_sha256`; empty where unknown.
        keys_digest: of the names of the validation images.
        contents_digest: of their contents; empty where unknown.

    Raises:
        ValueError: a temperature or threshold that cannot be.

    Example:
        >>> FPTCalibration(1.5, {"melanoma/youden": 0.4}, classes=("nevus", "melanoma")).thresholds["melanoma/youden"]
        0.4
    """

    temperature: float
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    task: str = "multiclass"
    ordered: bool = False
    aggregate: str | None = None
    images: int = 0
    patients: int = 0
    nll: tuple[float, float] = (float("nan"), float("nan"))
    digest: str = ""
    remarks: tuple[str, ...] = ()
    weights_sha256: str = ""
    keys_digest: str = ""
    contents_digest: str = ""

    def __post_init__(self) -> None:
        wrong = [
            name for name, at in self.thresholds.items() if "/" not in name or not 0 <= at <= 1 or isinstance(at, bool)
        ]
        if not (math.isfinite(self.temperature) and self.temperature > 0) or wrong:
            raise ValueError(
                f"calibration: temperature {self.temperature!r} must be positive and thresholds of 'question/rule' in [0, 1] "
                f"(not so: {wrong}); fit the calibration again."
            )
        for name in ("classes", "remarks"):
            object.__setattr__(self, name, tuple(str(one) for one in getattr(self, name)))
        object.__setattr__(self, "thresholds", {str(name): float(at) for name, at in self.thresholds.items()})
        object.__setattr__(self, "nll", tuple(float("nan") if one is None else float(one) for one in self.nll))

    def require_fit(self, predictions: FPTPredictions, aggregate: str | None) -> None:
        """Refuse to judge predictions of another network, or patients by thresholds of images.

        Raises:
            ValueError: weights, classes, task or aggregate differ.
        """
        if self.weights_sha256 and predictions.weights_sha256 and self.weights_sha256 != predictions.weights_sha256:
            raise ValueError(
                f"calibration: it was fitted for the weights {self.weights_sha256[:12]} but the predictions are of "
                f"{predictions.weights_sha256[:12]}; fit it on validation predictions of the same weights."
            )
        own, theirs = (
            (self.classes, self.task, self.ordered),
            (predictions.classes, predictions.task, predictions.ordered),
        )
        if own != theirs:
            raise ValueError(
                f"calibration: it is for {self.task} {list(self.classes)} but the predictions are {predictions.task} "
                f"{list(predictions.classes)}, or only one has an order; fit it on validation predictions of the same model."
            )
        if self.aggregate != aggregate:
            raise ValueError(
                f"calibration: its thresholds were chosen with aggregate={self.aggregate!r} but the evaluation has "
                f"aggregate={aggregate!r}; fit it again with the same."
            )

    def same_images(self, predictions: FPTPredictions) -> bool:
        """Whether these are the very images it was fitted on: by content where that is known of both, else by name."""
        if self.contents_digest and predictions.contents:
            return self.contents_digest == predictions.contents_digest
        named = bool(self.keys_digest) and self.keys_digest == predictions.keys_digest
        return named or (bool(self.digest) and self.digest == predictions_digest(predictions))

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON can hold it."""
        content = dataclasses.asdict(self)
        content["nll"] = [None if math.isnan(one) else one for one in self.nll]
        return json.loads(json.dumps(content))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FPTCalibration:
        """What :meth:`to_dict` gave.

        Raises:
            ValueError: fields that are unknown, missing or cannot be.
        """
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"calibration: these are not its fields ({error}); fit the calibration again.") from error

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        content = {"format": _FORMAT, "version": _VERSION, **self.to_dict()}
        write_whole(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> FPTCalibration:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no calibration, or one of a newer version.
        """
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(
                f"calibration: there is no file {str(source)!r}; evaluate the validation images first."
            )
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT or content.pop("version") > _VERSION:
                raise ValueError("another format or a newer version")
            return cls.from_dict(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"calibration: {str(source)!r} holds none ({error}); evaluate the validation images again."
            ) from error


def fit_calibration(validation: FPTPredictions, *, aggregate: str | None = None) -> FPTCalibration:
    """Fit temperature and thresholds.

    Args:
        validation: predictions for the validation images; never those of the test.
        aggregate: what thresholds are for: ``"mean"`` or ``"max"`` of a patient's images, None for single images.

    Raises:
        ValueError: there is no image, an unknown aggregate, or images of one patient with different exclusive labels.
    """
    if not len(validation):
        raise ValueError("calibration: there are no validation images to fit it on; give a validation section.")
    temperature, remarks = _temperature(validation)
    units = scored_units(validation, temperature=temperature, aggregate=aggregate)
    thresholds, undecided = _thresholds(units)
    if undecided:
        remarks.append(f"No thresholds for {', '.join(undecided)}: the validation images are all of it or none of it.")
    patients = len(set(validation.groups))
    if patients < _FEW:
        remarks.append(
            f"Temperature and thresholds rest on {len(validation)} images of {patients} patients: expect other sensitivities "
            "elsewhere."
        )
    return FPTCalibration(
        temperature=temperature,
        thresholds=thresholds,
        classes=validation.classes,
        task=validation.task,
        ordered=validation.ordered,
        aggregate=aggregate,
        images=len(validation),
        patients=patients,
        nll=(_nll(validation, 1.0), _nll(validation, temperature)),
        digest=predictions_digest(validation),
        remarks=tuple(remarks),
        weights_sha256=validation.weights_sha256,
        keys_digest=validation.keys_digest,
        contents_digest=validation.contents_digest,
    )


def _thresholds(units: FPTScoredUnits) -> tuple[dict[str, float], list[str]]:
    """Thresholds by ``"question/rule"``, and the questions that have none."""
    found: dict[str, float] = {}
    undecided = []
    for question in fpt_questions(units.classes, task=units.task, ordered=units.ordered):
        chosen = fpt_thresholds(question.values(units.calibrated), question.positives(units.labels))
        found |= {f"{question.name}/{rule}": at for rule, at in chosen.items()}
        undecided += [] if chosen else [question.name]
    return found, undecided


def _nll(predictions: FPTPredictions, temperature: float) -> float:
    """Mean negative log-likelihood of the images, from logits, so that certainty never becomes infinite."""
    return float(_losses(predictions.logits / temperature, predictions.labels).mean())


def _losses(scaled: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(N,) losses: cross-entropy of exclusive classes, mean binary cross-entropy of findings."""
    if labels.ndim == 2:
        return np.asarray((np.logaddexp(0, scaled) - scaled * labels).mean(axis=1))
    highest = scaled.max(axis=1, keepdims=True)
    normalizer = np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]
    return np.asarray(normalizer - scaled[np.arange(len(labels)), labels])


def _temperature(predictions: FPTPredictions) -> tuple[float, list[str]]:
    """The best temperature, or 1 and why there is none. The loss is convex in 1 / temperature, so there is one minimum."""
    logits, labels = predictions.logits, predictions.labels
    if labels.ndim == 2:
        right = (logits > 0) == (labels > 0)
        slope = float((logits * (0.5 - labels)).mean())  # of the loss where nothing is certain, in 1 / temperature
    else:
        own = logits[np.arange(len(labels)), labels]
        right = (logits >= own[:, None]).sum(axis=1) == 1
        slope = float((logits.mean(axis=1) - own).mean())
    if right.all():
        return 1.0, [
            "The temperature stays 1: every validation image is right, so that none is the best; more validation images would tell."
        ]
    if slope >= 0:
        return 1.0, ["The temperature stays 1: on the validation images the logits say nothing of the labels."]
    bounds = (-math.log(_RANGE[1]), -math.log(_RANGE[0]))
    found = minimize_scalar(
        lambda x: _nll(predictions, math.exp(-x)), bounds=bounds, method="bounded", options={"xatol": 1e-7}
    )
    return math.exp(-float(found.x)), []


def predictions_digest(predictions: FPTPredictions) -> str:
    """sha256 (64 hex digits) of keys, labels and logits, in any order of the images."""
    order = sorted(range(len(predictions)), key=predictions.keys.__getitem__)
    told = [
        [predictions.keys[row], predictions.labels[row].tolist(), [float(f"{x:.9g}") for x in predictions.logits[row]]]
        for row in order
    ]
    return hashlib.sha256(json.dumps([list(predictions.classes), told]).encode()).hexdigest()
