"""The model as MLflow serves it: rows of a request in, one answer a row out.

Decisions:

- One bad image never costs the others their answer: its row says ``error`` and why, in one sentence.
- The images that can be read go through the network together.
- Answers are plain JSON, names of classes to numbers, complete: logits, probabilities, calibrated probabilities, the
  predicted class, and whether each of the validation's operating points is passed.
- A heat map is made on request only, of the predicted class or of one that is named, as a PNG: the map laid over the image as it
  was prepared, reduced to at most 1,024 pixels a side.
- Nothing of a request is logged.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from mlflow.pyfunc import PythonModel
from PIL import Image
from torch import Tensor

from monai_fpt.data import ImageReadError
from monai_fpt.registry.inputs import RequestLimits, opened_entry
from monai_fpt.registry.package import FPTPackage
from monai_fpt.registry.predictor import FPTAnswer, FPTPredictor
from monai_fpt.registry.store import ARTIFACT
from monai_fpt.visualize import overlay

__all__ = ["DEVICE_VARIABLE", "FPTServedModel", "answer_rows"]

DEVICE_VARIABLE = "MONAI_FPT_DEVICE"
_LONGEST = 1024
_ERROR: dict[str, Any] = {
    "status": "error",
    "error": None,
    "predicted": None,
    "probabilities": None,
    "calibrated": None,
    "logits": None,
    "operating_points": None,
    "heatmap": None,
}


class FPTServedModel(PythonModel):  # type: ignore[misc]
    """MLflow's ``PythonModel`` around an :class:`~monai_fpt.registry.FPTPredictor`.

    Loaded from the artifact ``fpt``, a package. Environment of the process: ``MONAI_FPT_BACKBONE`` (weights of the backbone),
    ``MONAI_FPT_DEVICE`` (by default the GPU where there is one), ``MONAI_FPT_SERVE_ROOT`` and ``MONAI_FPT_SERVE_MAX_MB`` (see
    :mod:`monai_fpt.registry.inputs`).
    """

    predictor: FPTPredictor
    limits: RequestLimits

    def load_context(self, context: Any) -> None:
        """Load the package and refuse another backbone."""
        package = FPTPackage.load(context.artifacts[ARTIFACT])
        device = os.environ.get(DEVICE_VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
        self.predictor = FPTPredictor.from_folder(package.folder, device=device)
        self.limits = RequestLimits.from_environment()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        """Answer a batch.

        Args:
            context: MLflow's; not used.
            model_input: a table with the column ``image`` and, where wanted, ``frame``.
            params: ``heatmap``, false by default; ``heatmap_class``, the predicted one by default.

        Returns:
            a list with a dictionary for each row: ``status`` is ``"ok"`` or ``"error"``.
        """
        frames = model_input["frame"].tolist() if "frame" in model_input else [None] * len(model_input)
        asked = params or {}
        return answer_rows(
            self.predictor,
            model_input["image"].tolist(),
            frames,
            self.limits,
            heatmap=bool(asked.get("heatmap", False)),
            heatmap_class=str(asked.get("heatmap_class") or "") or None,
        )


def answer_rows(
    predictor: FPTPredictor,
    entries: Sequence[Any],
    frames: Sequence[Any],
    limits: RequestLimits,
    *,
    heatmap: bool = False,
    heatmap_class: str | None = None,
) -> list[dict[str, Any]]:
    """Answer every entry, in order.

    Args:
        predictor: the model.
        entries: see :mod:`monai_fpt.registry.inputs`.
        frames: number of the frame or slice, or None, for each entry.
        limits: of the server.
        heatmap: also draw where the model looked.
        heatmap_class: for which class; by default the most probable one.
    """
    rows: list[dict[str, Any]] = []
    images: dict[int, Tensor] = {}
    pictures: dict[int, Image.Image] = {}
    for number, (entry, frame) in enumerate(zip(entries, frames, strict=True)):
        rows.append(dict(_ERROR))
        try:
            with opened_entry(entry, limits) as path:
                image = predictor.read(path, _whole(frame))
                images[number] = predictor.finish(image)
                if heatmap:
                    pictures[number] = _picture(image)
        except ImageReadError as error:
            rows[number]["error"] = str(error)
    if images:
        stacked = torch.stack(list(images.values()))
        for number, answer in zip(images, predictor.answers(stacked), strict=True):
            rows[number] = _told(answer)
            if heatmap:
                _add_heatmap(
                    rows[number], predictor, images[number], pictures[number], heatmap_class or _likeliest(answer)
                )
    return rows


def _add_heatmap(
    row: dict[str, Any], predictor: FPTPredictor, image: Tensor, picture: Image.Image, class_name: str
) -> None:
    """A map that cannot be made costs no answer, but is told."""
    try:
        drawn = overlay(picture, predictor.heat_map(image, class_name))
    except (ValueError, RuntimeError) as error:
        row["error"] = f"There is no heat map: {error}"
        return
    file = io.BytesIO()
    drawn.save(file, "PNG")
    row["heatmap"] = base64.b64encode(file.getvalue()).decode()


def _likeliest(answer: FPTAnswer) -> str:
    return answer.classes[answer.logits.index(max(answer.logits))]


def _picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] as a picture of a size that can be sent."""
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((_LONGEST, _LONGEST))
    return picture


def _whole(frame: Any) -> int | None:
    """A frame's number; what is missing in a table is NaN there."""
    if frame is None or (isinstance(frame, float) and math.isnan(frame)):
        return None
    try:
        number = int(frame)
        whole = number == float(frame)
    except (TypeError, ValueError, OverflowError):
        number, whole = 0, False
    if not whole or number < 0:
        wrong = "below 0" if whole else "no whole number"
        raise ImageReadError(f"frame is {str(frame)[:40]}, which is {wrong}; count frames from 0.")
    return number


def _told(answer: FPTAnswer) -> dict[str, Any]:
    def named(values: Sequence[float] | None) -> dict[str, float] | None:
        return None if values is None else dict(zip(answer.classes, values, strict=True))

    return {
        "status": "ok",
        "error": None,
        "predicted": list(answer.predicted) if answer.task == "multilabel" else answer.predicted[0],
        "probabilities": named(answer.probabilities),
        "calibrated": named(answer.calibrated),
        "logits": named(answer.logits),
        "operating_points": None if answer.passed is None else dict(answer.passed),
        "heatmap": None,
    }
