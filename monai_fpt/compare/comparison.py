"""FPTArmComparison: the answer of a comparison, with everything that its table, page and JSON say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.compare.arms import FPTArmInfo
from monai_fpt.compare.differences import FPTArmDifference
from monai_fpt.compare.full_memory import FPTFullTuning
from monai_fpt.compare.indices import performance_index
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.experiments.table import spread
from monai_fpt.report.score import FPTScore

__all__ = ["FPTArmComparison", "FPTArmRow"]


@dataclasses.dataclass(frozen=True)
class FPTArmRow:
    """One line of the table: an arm over its seeds.

    Attributes:
        info: of the arm.
        runs: one a seed; one alone where a seed changes nothing.
        validation: AUC of the validation section by seed, of images, as it chose.
        test: of the test section, of patients where they are put together.
        auc: mean test AUC with its interval over patients and seeds.
        difference: to the reference; None for the reference itself.
        share_of_parameters: learnable parameters over those of full fine-tuning.
        share_of_memory: training bytes over those of full fine-tuning; 0 where no gradient is used.
    """

    info: FPTArmInfo
    runs: tuple[FPTArmRun, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...]
    auc: FPTScore
    difference: FPTArmDifference | None
    share_of_parameters: float
    share_of_memory: float

    @property
    def name(self) -> str:
        """Of the arm."""
        return self.info.name

    @property
    def learnable_parameters(self) -> int:
        """Of the first run; all have the same, but for what validation chose."""
        return self.runs[0].learnable_parameters

    @property
    def training_bytes(self) -> int | None:
        """Likewise."""
        return self.runs[0].training_bytes

    @property
    def seconds(self) -> float:
        """Mean over the runs whose time is known; NaN where none is."""
        return spread([run.seconds for run in self.runs])[0]

    @property
    def chooses(self) -> bool:
        """Whether anything was chosen by the validation section, whose AUC is too good then."""
        return any(run.chosen for run in self.runs)

    @property
    def beats_guessing(self) -> bool:
        """Whether the interval of the test AUC lies above 0.5."""
        return self.auc.low > 0.5

    @property
    def ppe(self) -> float:
        """The paper's index of parameters, of the mean test AUC in percent."""
        return performance_index(100 * self.auc.value, self.share_of_parameters)

    @property
    def pme(self) -> float:
        """The paper's index of memory, likewise."""
        return performance_index(100 * self.auc.value, self.share_of_memory)


@dataclasses.dataclass(frozen=True)
class FPTArmComparison:
    """What a comparison found. ``str()`` of it is the table.

    Attributes:
        folder: of everything.
        rows: arms in the order they were named.
        seeds: of the trainings.
        reference: the arm that others are compared with.
        plainest: the arm that is the cheapest to train (:mod:`monai_fpt.compare.cheapest`), of those that beat guessing where any does;
            others are compared with it for the advice.
        to_plainest: differences to that one.
        full: cost of full fine-tuning.
        images: of the test section.
        patients: likewise.
        patients_known: whether patients are known, else every image counts as one.
        classes: their names.
        counts: images a section.
        shuffled: whether the labels were dealt anew among patients.
        level: of the intervals.
        bootstrap: number of resamples.
        stratified: whether patients of rare classes were drawn among themselves.
        aggregate: how images of a patient were put together; None counts images.
        skipped: arms that were left out, and why.
        extraction: of each cache that was filled, its folder, the images read and seconds.
        backbone: name, its weights' fingerprint and image size, in words.
    """

    folder: Path
    rows: tuple[FPTArmRow, ...]
    seeds: tuple[int, ...]
    reference: str
    plainest: str
    to_plainest: Mapping[str, FPTArmDifference]
    full: FPTFullTuning
    images: int
    patients: int
    patients_known: bool
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    shuffled: bool
    level: float
    bootstrap: int
    stratified: bool
    aggregate: str | None
    skipped: Mapping[str, str]
    extraction: Sequence[Mapping[str, Any]]
    backbone: str

    def row(self, name: str) -> FPTArmRow:
        """The line of an arm."""
        return next(row for row in self.rows if row.name == name)

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker."""
        found: dict[str, float] = {}
        for row in self.rows:
            mean, deviation = spread(row.test)
            validation, _ = spread(row.validation)
            found |= {
                f"{row.name}/test_auc_mean": mean,
                f"{row.name}/test_auc_sd": deviation,
                f"{row.name}/test_auc_worst": min(row.test, key=_ordered),
                f"{row.name}/val_auc_mean": validation,
                f"{row.name}/learnable_parameters": float(row.learnable_parameters),
                f"{row.name}/training_bytes": math.nan if row.training_bytes is None else float(row.training_bytes),
                f"{row.name}/seconds": row.seconds,
                f"{row.name}/ppe": row.ppe,
                f"{row.name}/pme": row.pme,
            }
            if row.difference is not None:
                found[f"{row.name}/difference"] = row.difference.score.value
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it once NaN is null."""
        from monai_fpt.compare.advice import advice_sentences
        from monai_fpt.compare.notes import notes_of

        return {
            "format": "monai_fpt comparison",
            "version": 1,
            "backbone": self.backbone,
            "classes": list(self.classes),
            "images": dict(self.counts),
            "test_patients": self.patients if self.patients_known else None,
            "seeds": list(self.seeds),
            "reference": self.reference,
            "plainest": self.plainest,
            "labels_shuffled": self.shuffled,
            "level": self.level,
            "bootstrap": self.bootstrap,
            "aggregate": self.aggregate,
            "full_fine_tuning": dataclasses.asdict(self.full),
            "arms": [_row_dict(row) for row in self.rows],
            "to_plainest": {name: _difference_dict(one) for name, one in self.to_plainest.items()},
            "skipped": dict(self.skipped),
            "extraction": [dict(one) for one in self.extraction],
            "advice": list(advice_sentences(self)),
            "notes": list(notes_of(self)),
        }

    def __str__(self) -> str:
        from monai_fpt.compare.tables import comparison_text

        return comparison_text(self)


def _ordered(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _row_dict(row: FPTArmRow) -> dict[str, Any]:
    validation, test = spread(row.validation), spread(row.test)
    return {
        "arm": row.name,
        "what": row.info.line,
        "source": row.info.source,
        "seeds": [run.seed for run in row.runs],
        "validation_auc": {"mean": validation[0], "sd": validation[1], "by_seed": list(row.validation)},
        "test_auc": {
            "mean": test[0],
            "sd": test[1],
            "worst": min(row.test, key=_ordered),
            "by_seed": list(row.test),
            "low": row.auc.low,
            "high": row.auc.high,
        },
        "difference": None if row.difference is None else _difference_dict(row.difference),
        "learnable_parameters": row.learnable_parameters,
        "share_of_parameters": row.share_of_parameters,
        "training_bytes": row.training_bytes,
        "share_of_memory": row.share_of_memory,
        "seconds": row.seconds,
        "ppe": row.ppe,
        "pme": row.pme,
        "best_epochs": [run.best_epoch for run in row.runs],
        "chosen": [dict(run.chosen) for run in row.runs],
        "test_scores_of_images": [run.scores("test") for run in row.runs],
    }


def _difference_dict(one: FPTArmDifference) -> dict[str, Any]:
    return {
        "value": one.score.value,
        "low": one.score.low,
        "high": one.score.high,
        "p_value": one.p_value,
        "p_value_holm": one.corrected,
        "verdict": one.verdict,
    }
