"""save_report: an evaluation as a file. fpt_write_report: from a folder of predictions to its report.

One rule for calibrations: a report uses one of the very weights that its predictions are of, or none, and writes into its own folder
alone. The training's report lies in the run's folder, so that the run's ``calibration.json`` is the training's; an evaluation later,
of other images or other weights, leaves it as it is.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from monai_fpt._files import write_whole
from monai_fpt.metrics.calibration import FPTCalibration, fit_calibration, predictions_digest
from monai_fpt.metrics.predictions import FPTPredictions
from monai_fpt.report.evaluate import evaluate_predictions
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.page import Picture, evaluation_page
from monai_fpt.report.worst import worst_errors

__all__ = ["fpt_write_report", "save_report"]

_CALIBRATION = "calibration.json"
_VALIDATION = "validation_predictions.json"


def save_report(
    evaluation: FPTEvaluation,
    predictions: FPTPredictions,
    path: str | Path,
    *,
    pictures: Picture | None = None,
    heat_maps: Picture | None = None,
    show_keys: bool = False,
    most_errors: int = 12,
) -> None:
    """Write an evaluation as one page (``.html``) or as JSON (``.json``), whole or not at all.

    Args:
        evaluation: of the predictions.
        predictions: that were scored; the worst errors are taken from them.
        path: the file; its folder is made where missing.
        pictures: key of an image to PNG or JPEG bytes, or None where there is none; see
            :func:`~monai_fpt.report.fpt_thumbnails`.
        heat_maps: likewise, of where the network looked.
        show_keys: show keys of images on the page.
        most_errors: number of worst errors at most.

    Raises:
        ValueError: another suffix, other predictions, or a picture that is neither PNG nor JPEG.
        OSError: the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (".html", ".htm", ".json"):
        raise ValueError(f"report: {target.name!r} ends neither in .html nor in .json; give it such a name.")
    if evaluation.digest != predictions_digest(predictions):
        raise ValueError("report: the evaluation is of other predictions than those given; evaluate these first.")
    if suffix == ".json":
        text = json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n"
    else:
        errors = worst_errors(predictions, aggregate=evaluation.aggregate, most=most_errors)
        text = evaluation_page(evaluation, errors, pictures=pictures, heat_maps=heat_maps, show_keys=show_keys)
    write_whole(target, text)


def fpt_write_report(
    folder: str | Path,
    section: str = "test",
    *,
    run_dir: str | Path | None = None,
    aggregate: str | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    subgroups: Sequence[str] | None = None,
    pictures: Picture | None = None,
    heat_maps: Picture | None = None,
    show_keys: bool = False,
    quiet: bool = False,
) -> FPTEvaluation:
    """Evaluate the predictions that an evaluation left in a folder; write ``report.json`` and ``report.html`` there.

    The calibration is fitted on ``validation_predictions.json``; without such predictions a ``calibration.json`` is read. Both are looked
    for in ``folder``, then in ``run_dir``, and must be of the weights that were evaluated. What is fitted is kept as ``calibration.json``
    in ``folder``; nothing is written to ``run_dir``. Reports of other sections than the test
    are called ``report_validation.html`` and so on.

    Args:
        folder: with ``<section>_predictions.json``.
        section: ``"test"``, ``"validation"`` or ``"training"``.
        run_dir: of the training, where that is another folder.
        aggregate: see :func:`~monai_fpt.report.evaluate_predictions`, like what follows.
        bootstrap: number of resamples.
        level: of the intervals.
        seed: of the resamples.
        subgroups: names of facts to break scores down by.
        pictures: see :func:`save_report`, like what follows.
        heat_maps: of where the network looked.
        show_keys: show keys of images on the page.
        quiet: print nothing.

    Returns:
        the evaluation.

    Raises:
        FileNotFoundError: there are no predictions of this section.
        ValueError: predictions or calibration that cannot be used; see :func:`~monai_fpt.report.evaluate_predictions`.
        OSError: a file cannot be written.

    Warns:
        UserWarning: some of the images or patients are in the validation predictions too, then nothing is calibrated; or
            validation predictions or a calibration are of other weights, and are passed over.
    """
    source = Path(folder)
    predictions = FPTPredictions.load(source / f"{section}_predictions.json")
    places = [source] if run_dir is None else [source, Path(run_dir)]
    evaluation = evaluate_predictions(
        predictions,
        calibration=_calibration(places, predictions, aggregate),
        aggregate=aggregate,
        bootstrap=bootstrap,
        level=level,
        seed=seed,
        section=section,
        subgroups=subgroups,
    )
    name = "report" if section == "test" else f"report_{section}"
    save_report(evaluation, predictions, source / f"{name}.json")
    page = source / f"{name}.html"
    save_report(evaluation, predictions, page, pictures=pictures, heat_maps=heat_maps, show_keys=show_keys)
    if not quiet:
        print(f"{evaluation}\n\nReport: {page}")
    return evaluation


def _calibration(places: Sequence[Path], predictions: FPTPredictions, aggregate: str | None) -> FPTCalibration | None:
    """Fitted on the validation predictions of the first place that has some of these weights and kept in ``places[0]``; else read from
    the first place that has one of them."""
    for place in places:
        if (place / _VALIDATION).is_file():
            validation = FPTPredictions.load(place / _VALIDATION)
            if not _of_the_same(validation.weights_sha256, predictions.weights_sha256, _VALIDATION):
                continue
            shared = _shared(validation, predictions)
            if shared:
                warnings.warn(
                    f"report: {shared} are in the validation predictions too; thresholds would be chosen on what they are judged by, so "
                    "there are none, and no calibrated scores.",
                    stacklevel=3,
                )
                return None
            calibration = fit_calibration(validation, aggregate=aggregate)
            calibration.save(places[0] / _CALIBRATION)
            return calibration
    for place in places:
        if (place / _CALIBRATION).is_file():
            calibration = FPTCalibration.load(place / _CALIBRATION)
            if _of_the_same(calibration.weights_sha256, predictions.weights_sha256, _CALIBRATION):
                return calibration
    return None


def _of_the_same(theirs: str, ours: str, name: str) -> bool:
    """Whether a file is of the weights that were evaluated, or neither says which; warns where it is not."""
    if theirs == ours:
        return True
    if theirs and ours:
        why = "is of other weights than these predictions"
    else:
        why = f"cannot be compared with these predictions, for {'they do' if theirs else 'it does'} not say of which weights"
    warnings.warn(
        f"report: {name} {why}, so it is not used; evaluate the validation section with the same weights into the same folder.",
        stacklevel=4,
    )
    return False


def _shared(validation: FPTPredictions, predictions: FPTPredictions) -> str:
    """What validation and another section have in common; empty where they are apart, or the validation section itself."""
    by_name = set(validation.keys) & set(predictions.keys)
    by_content = set(validation.contents) & set(predictions.contents)
    images = max(len(by_name), len(by_content))
    patients = len(set(validation.groups) & set(predictions.groups))
    if validation.keys == predictions.keys or not (images or patients):
        return ""
    return f"{images} images and {patients} patients"
