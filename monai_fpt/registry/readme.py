"""The model card for people: a page of Markdown made of facts that the package holds, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from monai_fpt._version import __version__
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.registry.backbone import FPTBackboneReference

__all__ = ["package_readme", "score_text"]

_SCORES = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
    "f1": "F1",
    "kappa": "quadratic kappa",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "ece_calibrated": "expected calibration error, calibrated",
}
_PURE_NOISE = ("num_batches_tracked", "backbone_id")


def package_readme(
    card: FPTModelCard,
    state: Mapping[str, Tensor],
    backbone: FPTBackboneReference,
    calibration: FPTCalibration | None,
    evaluation: Mapping[str, Any] | None,
    data: Mapping[str, Any],
    intended_use: str,
) -> str:
    """The page.

    Args:
        card: facts of the model.
        state: what was learned.
        backbone: which backbone it needs.
        calibration: where there is one.
        evaluation: the report as JSON; None where the model was not tested.
        data: digest and counts of the training data.
        intended_use: a sentence.
    """
    learned = sum(value.numel() for name, value in state.items() if not name.endswith(_PURE_NOISE))
    parts = [
        f"# {_kind(card)}: {', '.join(card.classes)}",
        intended_use,
        "## Performance",
        _performance(evaluation),
        "## Data",
        _data(data, card),
        "## Model",
        _list(
            [
                ("method", {"fpt_plus": "FPT+", "fpt": "FPT"}[card.network.method]),
                ("learned parameters", f"{learned:,}"),
                ("backbone", str(backbone)),
                ("backbone weights as loaded, sha256", f"`{backbone.weights_sha256}`"),
                ("backbone file, sha256", f"`{backbone.file_sha256}`" if backbone.file_sha256 else "unknown"),
                ("backbone licence", backbone.licence or "not stated; ask who gave the weights"),
                ("backbone in this package", "yes" if backbone.embedded else "no"),
                ("input", f"{card.network.image_size} x {card.network.image_size} pixels"),
                ("preparation", ", ".join(_steps(card)) or "none but the resize"),
            ]
        ),
        "## Calibration",
        _calibration(calibration),
        f"Made by monai-fpt {__version__} from the facts in this package.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def score_text(score: Mapping[str, Any]) -> str:
    """``0.912 (0.880 to 0.940)``."""
    if score.get("value") is None:
        return "not defined"
    interval = score.get("low") is not None
    return f"{score['value']:.3f}" + (f" ({score['low']:.3f} to {score['high']:.3f})" if interval else "")


def _kind(card: FPTModelCard) -> str:
    if card.task == "multilabel":
        return "Classification of several findings"
    return "Grading" if card.ordered else "Classification"


def _performance(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return "**Not evaluated.** There were no predictions for a test section when this model was packed."
    rows = [
        (name, score_text(evaluation["scores"][key])) for key, name in _SCORES.items() if key in evaluation["scores"]
    ]
    counted = ", ".join(f"{name} {count}" for name, count in evaluation["classes"].items())
    known = evaluation["patients_known"]
    of = f"{evaluation['images']} test images{_of_patients(evaluation['patients'], known)} ({counted})"
    how = f"{evaluation['level']:.0%} intervals by {evaluation['bootstrap']} bootstrap resamples of {'patients' if known else 'images'}"
    notes = [f"- *{note['severity']}*: {note['text']}" for note in evaluation["notes"]]
    return "\n".join([f"On {of}; {how}.", "", _list(rows), *notes])


def _data(data: Mapping[str, Any], card: FPTModelCard) -> str:
    sections = [name for name in ("training", "validation", "test") if name in data]
    lines = [f"Digest of the data list (sha256): `{data.get('digest') or 'unknown'}`."]
    if sections:
        head = ["class", *sections]
        rows = [[name, *(str(data[s]["classes"].get(name, 0)) for s in sections)] for name in card.classes]
        rows.append(["images", *(str(data[s]["images"]) for s in sections)])
        if any(data[s]["groups"] for s in sections):
            rows.append(["patients", *(str(data[s]["groups"] or "unknown") for s in sections)])
        lines += ["", *(_row(cells) for cells in [head, ["---"] * len(head), *rows])]
    return "\n".join(lines)


def _calibration(calibration: FPTCalibration | None) -> str:
    if calibration is None:
        return "None was fitted: probabilities are the network's own, and there are no operating points."
    known = calibration.patients != calibration.images  # where none is known, each image counts as one
    of = f"Fitted on {calibration.images} validation images{_of_patients(calibration.patients, known)}."
    rows = [(name, f"{at:.4f}") for name, at in calibration.thresholds.items()]
    remarks = [("to be known", remark) for remark in calibration.remarks]
    return f"{of}\n\n" + _list([("temperature", f"{calibration.temperature:.4f}"), *rows, *remarks])


def _of_patients(count: int, known: bool) -> str:
    return f" of {count} patients" if known else ""


def _steps(card: FPTModelCard) -> list[str]:
    return [str(entry.get("_target_", "?")).rpartition(".")[2] for entry in card.preparing]


def _list(rows: list[tuple[str, str]]) -> str:
    """Names and values; lists look right everywhere, and MLflow's page gives tables no room between columns."""
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
