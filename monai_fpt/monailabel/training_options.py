"""What can be asked of a retraining, and what comes of it: the two ends of :mod:`~monai_fpt.monailabel.training`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from monai_fpt.metrics import FPT_SCORES
from monai_fpt.monailabel.booleans import is_true
from monai_fpt.monailabel.training_fit import FPTFitOptions

__all__ = ["FPTRetrainOptions", "FPTRetraining"]


@dataclasses.dataclass(frozen=True)
class FPTRetrainOptions:
    """How a retraining is done; further fields as of :class:`~monai_fpt.monailabel.training_fit.FPTFitOptions`.

    Attributes:
        fit: how the network learns.
        pretrained: whether to train the present model on; without one, and where this is false, a new one is trained.
        val_fraction: share of patients that judge. Leave it as it was once chosen: another share moves patients.
        min_labels: labels that each class must have.
        metric: score that decides, one of :data:`~monai_fpt.metrics.FPT_SCORES`.

    Raises:
        ValueError: a value out of range, naming the field.
    """

    fit: FPTFitOptions = dataclasses.field(default_factory=FPTFitOptions)
    pretrained: bool = True
    val_fraction: float = 0.2
    min_labels: int = 5
    metric: str = "auc"

    def __post_init__(self) -> None:
        if self.metric not in FPT_SCORES:
            raise ValueError(f"metric={self.metric!r} is not one of {', '.join(FPT_SCORES)}.")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction={self.val_fraction} must lie above 0 and below 1; choose for example 0.2.")
        if isinstance(self.min_labels, bool) or not isinstance(self.min_labels, int) or self.min_labels < 1:
            raise ValueError(f"min_labels={self.min_labels!r} must be a whole number of at least 1.")

    def to_request(self) -> dict[str, Any]:
        """All options side by side, as a client sends them."""
        values = dataclasses.asdict(self)
        fit: dict[str, Any] = values.pop("fit")
        return values | fit

    def with_request(self, request: Mapping[str, Any]) -> FPTRetrainOptions:
        """These options with those of a request; other entries of the request are not read.

        Args:
            request: values, or lists of values, of which the first counts: a client that chose nothing sends all choices.

        Raises:
            ValueError: a value that cannot be.
        """
        present = self.to_request()
        chosen: dict[str, Any] = {}
        for name, default in present.items():
            value = request.get(name, default)
            value = value[0] if isinstance(value, list) and value else value
            try:
                chosen[name] = _like(value, default)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{name}={value!r} is no {type(default).__name__}; the default is {default!r}."
                ) from error
        names = [field.name for field in dataclasses.fields(FPTFitOptions)]
        fit = FPTFitOptions(**{name: chosen.pop(name) for name in names})
        return FPTRetrainOptions(fit=fit, **chosen)


@dataclasses.dataclass(frozen=True)
class FPTRetraining:
    """What came of a retraining.

    Attributes:
        training: its name, as in the label history and in MLflow.
        published: whether the new model is the present one now.
        version: number of the present model; 0 is the one that the user put there.
        message: one sentence for the reader.
        start: ``"present model"`` or ``"anew"``; empty where nothing was trained.
        training_images, validation_images: how many.
        labels: class to number of labelled images.
        metric: the score that decided.
        present: its value for the present model; None where there was none, or nothing to judge by.
        challenger: for the new one.
        better_in: share of resamples in which the new one is better, see :mod:`~monai_fpt.monailabel.training_compare`; None
            likewise.
        not_judging: labelled images that would judge, but that a model has learned from, or from their patients.
        loss: of the last epoch.
        seconds: without extraction of missing features and tracking.
        extracted: images whose features had to be made first.
        refused: id and reason of labels and images that could not be used.
        warnings: what the reader has to know of the labels.
    """

    training: str
    published: bool
    version: int
    message: str
    start: str = ""
    training_images: int = 0
    validation_images: int = 0
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    metric: str = ""
    present: float | None = None
    challenger: float | None = None
    better_in: float | None = None
    not_judging: int = 0
    loss: float | None = None
    seconds: float = 0.0
    extracted: int = 0
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        plain = {"labels": dict(self.labels), "refused": dict(self.refused), "warnings": list(self.warnings)}
        return dataclasses.asdict(self) | plain


def _like(value: Any, default: Any) -> Any:
    """A value of the default's type; numbers may come as text, as forms send them."""
    if isinstance(default, bool):
        return is_true(value)
    if isinstance(default, int):
        if isinstance(value, bool) or float(value) != int(float(value)):
            raise ValueError("not a whole number")
        return int(float(value))
    return float(value) if isinstance(default, float) else str(value)
