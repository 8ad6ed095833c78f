"""evaluate_predictions: predictions in, scores with intervals out. The one evaluation behind bundle, commands, registry and
label server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monai_fpt.metrics.calibration import FPTCalibration, predictions_digest
from monai_fpt.metrics.calibration_error import fpt_calibration_error
from monai_fpt.metrics.operating import fpt_questions
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.metrics.units import FPTScoredUnits, scored_units
from monai_fpt.report.curves import class_curves, reliability_of
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.exact import proportion_patients, with_exact_limits
from monai_fpt.report.measure import confusions, measured, measured_questions, measured_summary
from monai_fpt.report.notes import evaluation_notes
from monai_fpt.report.resample import is_stratified, resampled_weights
from monai_fpt.report.score import FPTScore, scores_of
from monai_fpt.report.subgroups import subgroup_columns, subgroup_members

__all__ = ["evaluate_predictions"]

_Floats = npt.NDArray[np.float64]
_Drawn = dict[str, _Floats]


def evaluate_predictions(
    predictions: FPTPredictions,
    *,
    calibration: FPTCalibration | None = None,
    aggregate: str | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    section: str = "test",
    subgroups: Sequence[str] | None = None,
) -> FPTEvaluation:
    """Score predictions, with intervals over patients.

    Args:
        predictions: of labelled images.
        calibration: fitted on validation images of the same network; adds scores of calibrated probabilities and the
            sensitivities at its thresholds.
        aggregate: ``"mean"`` or ``"max"`` of a patient's images; None counts images.
        bootstrap: number of resamples; 0 gives no intervals.
        level: of the intervals, between 0 and 1.
        seed: of the resamples.
        section: what this is, for the title.
        subgroups: names of facts to break scores down by; None takes all that make two to twenty groups.

    Returns:
        the evaluation; ``str()`` of it is a table.

    Raises:
        ValueError: there is nothing to score, an option that cannot be, a calibration of something else, or images of one patient
            with different exclusive labels where patients are scored.
    """
    if not len(predictions):
        raise ValueError("report: there are no predictions to score; evaluate a section with images.")
    if bootstrap < 0 or not 0 < level < 1:
        raise ValueError(
            f"report: bootstrap={bootstrap} must be at least 0 and level={level} between 0 and 1; correct them."
        )
    if calibration is not None:
        calibration.require_fit(predictions, aggregate)
    temperature = 1.0 if calibration is None else calibration.temperature
    units = scored_units(predictions, temperature=temperature, aggregate=aggregate)
    columns, left_out = subgroup_columns(predictions, subgroups)
    members = [one for column in columns for one in subgroup_members(column, predictions, units)]
    logits = predictions.logits if aggregate is None else None
    parts = [units.subset(rows) for _, rows in members]
    whole: list[_Drawn] = []
    of_groups: list[list[_Drawn]] = [[] for _ in members]
    for weights in resampled_weights(units, bootstrap, seed):
        found = measured(units, weights, logits=logits, calibrated=calibration is not None)
        whole.append(found | _at_thresholds(units, weights, calibration))
        for (group, rows), part, drawn in zip(members, parts, of_groups, strict=True):
            if not group.reason:
                drawn.append(_of_group(part, weights[:, rows], calibration))
    thresholds = {} if calibration is None else calibration.thresholds
    scores = with_exact_limits(scores_of(_joined(whole), level), proportion_patients(units, thresholds), level)
    scores |= _by_torchmetrics(scores, units)
    return _with_notes(
        FPTEvaluation(
            section=section,
            classes=units.classes,
            task=units.task,
            ordered=units.ordered,
            images=len(predictions),
            patients=len(set(predictions.groups)),
            patients_known=predictions.patients_known,
            counts=tuple(int(n) for n in units.one_hot.sum(axis=0)),
            aggregate=aggregate,
            level=level,
            bootstrap=bootstrap,
            seed=seed,
            stratified=is_stratified(units),
            calibration=calibration,
            digest=predictions_digest(predictions),
            scores=scores,
            confusion=_counted(units),
            curves=class_curves(units),
            reliability=reliability_of(units, units.probabilities),
            reliability_calibrated=None if calibration is None else reliability_of(units, units.calibrated),
            subgroups=tuple(
                dataclasses.replace(group, scores=_group_scores(part, drawn, level)) if drawn else group
                for (group, _), part, drawn in zip(members, parts, of_groups, strict=True)
            ),
            notes=(),
        ),
        units,
        predictions,
        left_out,
    )


def _with_notes(
    evaluation: FPTEvaluation, units: FPTScoredUnits, predictions: FPTPredictions, left_out: Sequence[str]
) -> FPTEvaluation:
    notes = evaluation_notes(evaluation, units, predictions)
    return dataclasses.replace(evaluation, notes=(*notes, *(("note", text) for text in left_out)))


def _joined(parts: Sequence[_Drawn]) -> _Drawn:
    """Parts of resamples as one array a score."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}


def _at_thresholds(units: FPTScoredUnits, weights: _Floats, calibration: FPTCalibration | None) -> _Drawn:
    return {} if calibration is None else measured_questions(units, weights, calibration.thresholds)


def _of_group(units: FPTScoredUnits, weights: _Floats, calibration: FPTCalibration | None) -> _Drawn:
    """The summary, and where there is one question sensitivity and specificity at its Youden threshold."""
    found = measured_summary(units, weights)
    questions = fpt_questions(units.classes, task=units.task, ordered=units.ordered)
    if calibration is not None and len(questions) == 1:
        name = f"{questions[0].name}/youden"
        chosen = {key: at for key, at in calibration.thresholds.items() if key == name}
        rates = measured_questions(units, weights, chosen)
        found |= {key: rates[f"{key}/{name}"] for key in ("sensitivity", "specificity") if chosen}
    return found


def _group_scores(units: FPTScoredUnits, drawn: Sequence[_Drawn], level: float) -> dict[str, FPTScore]:
    """Scores of a group, those of proportions with exact limits where they are all or nothing."""
    patients = {"accuracy": len(np.unique(units.patients))}
    marks = units.one_hot
    if len(units.classes) == 2:
        patients |= {"sensitivity": len(np.unique(units.patients[marks[:, 1]]))}
        patients |= {"specificity": len(np.unique(units.patients[marks[:, 0]]))}
    return with_exact_limits(scores_of(_joined(drawn), level), patients, level)


def _by_torchmetrics(scores: dict[str, FPTScore], units: FPTScoredUnits) -> dict[str, FPTScore]:
    """The calibration errors with torchmetrics' own value; only their intervals are ours."""
    of = {"ece": units.probabilities, "ece_calibrated": units.calibrated}
    return {
        name: dataclasses.replace(scores[name], value=fpt_calibration_error(values, units.labels, task=units.task))
        for name, values in of.items()
        if name in scores
    }


def _counted(units: FPTScoredUnits) -> tuple[tuple[tuple[int, ...], ...], ...]:
    tables = confusions(units, np.ones((1, len(units))))
    return tuple(tuple(tuple(int(n) for n in row) for row in table[0]) for table in tables)
