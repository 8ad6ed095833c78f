"""FPTEvaluation: what one evaluation says, as plain data: a printed table, JSON, and the source of the page.

It holds no key of an image and no name of a patient, so that it can be logged and sent. Pictures of the worst errors need the
predictions once more, see :func:`~monai_fpt.report.save_report`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from monai_fpt._version import __version__
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.report.score import FPTScore, plain_number
from monai_fpt.report.subgroups import FPTSubgroup

__all__ = ["FPTCurve", "FPTEvaluation", "FPTReliability"]

FORMAT = "monai_fpt evaluation"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class FPTCurve:
    """ROC and precision-recall curve of one class against the rest, at most 200 points each.

    Attributes:
        name: the class.
        roc: (false positive rate, true positive rate), from (0, 0) to (1, 1).
        precision_recall: (recall, precision), by rising recall.
        prevalence: share of positives.
    """

    name: str
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]
    prevalence: float


@dataclasses.dataclass(frozen=True)
class FPTReliability:
    """How often it came true, by how sure the network was, in bins of equally many decisions.

    Attributes:
        confidence: mean confidence of each bin.
        observed: share that came true.
        low: lower end of Wilson's 95 % interval of the share.
        high: upper end.
        counts: number of decisions.
    """

    confidence: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class FPTEvaluation:
    """Scores with intervals, and what a report shows beside them.

    Attributes:
        section: what was evaluated, such as ``"test"``.
        classes: names of the K classes.
        task: ``"multiclass"`` or ``"multilabel"``.
        ordered: whether the order of the classes means something.
        images: number of images.
        patients: number of patients.
        patients_known: whether any image's patient is known; if not, each image counts as one.
        counts: images (patients with ``aggregate``) of each class.
        aggregate: how images of a patient were put together; None counts images.
        level: of the intervals.
        bootstrap: number of resamples.
        seed: of the resamples.
        stratified: whether patients of rare classes were drawn among themselves.
        calibration: temperature and thresholds that were used; None where there is none.
        digest: of the predictions.
        scores: by name, see :mod:`.measure`.
        confusion: (K, K) counts, labels by decisions; K of (2, 2) for several findings.
        curves: of every class that is asked for.
        reliability: of the network's own probabilities.
        reliability_calibrated: of calibrated ones; None without calibration.
        subgroups: by column and group.
        notes: what must be known to read the numbers: pairs of ``"warning"`` or ``"note"`` and a sentence.
    """

    section: str
    classes: tuple[str, ...]
    task: str
    ordered: bool
    images: int
    patients: int
    patients_known: bool
    counts: tuple[int, ...]
    aggregate: str | None
    level: float
    bootstrap: int
    seed: int
    stratified: bool
    calibration: FPTCalibration | None
    digest: str
    scores: Mapping[str, FPTScore]
    confusion: tuple[tuple[tuple[int, ...], ...], ...]
    curves: tuple[FPTCurve, ...]
    reliability: FPTReliability
    reliability_calibrated: FPTReliability | None
    subgroups: tuple[FPTSubgroup, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def units(self) -> str:
        """What is counted, in words."""
        return "images" if self.aggregate is None else "patients"

    def metrics(self) -> dict[str, float]:
        """Values and ends of intervals under flat names (``auc``, ``auc_low``, ``auc_high``) for a tracker; those that are
        undefined are left out."""
        found: dict[str, float] = {}
        for name, score in self.scores.items():
            ends = {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
            found |= {key: value for key, value in ends.items() if not math.isnan(value)}
        return found

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON can hold it; null where a number is undefined."""
        content: dict[str, Any] = {"format": FORMAT, "version": VERSION, "made_with": f"monai-fpt {__version__}"}
        plain = (
            "section",
            "task",
            "ordered",
            "images",
            "patients",
            "patients_known",
            "aggregate",
            "level",
            "bootstrap",
            "seed",
        )
        content |= {name: getattr(self, name) for name in (*plain, "stratified", "digest")}
        content["classes"] = dict(zip(self.classes, self.counts, strict=True))
        content["calibration"] = None if self.calibration is None else self.calibration.to_dict()
        content["scores"] = {name: score.to_dict() for name, score in self.scores.items()}
        content["subgroups"] = [group.to_dict() for group in self.subgroups]
        content["confusion"] = [[list(row) for row in table] for table in self.confusion]
        content["reliability"] = dataclasses.asdict(self.reliability)
        after = self.reliability_calibrated
        content["reliability_calibrated"] = None if after is None else dataclasses.asdict(after)
        content["curves"] = [
            {
                "name": curve.name,
                "prevalence": plain_number(curve.prevalence),
                "roc": [[round(x, 6), round(y, 6)] for x, y in curve.roc],
                "precision_recall": [[round(x, 6), round(y, 6)] for x, y in curve.precision_recall],
            }
            for curve in self.curves
        ]
        content["notes"] = [{"severity": severity, "text": text} for severity, text in self.notes]
        return content

    def __str__(self) -> str:
        from monai_fpt.report.text import evaluation_text

        return evaluation_text(self)
