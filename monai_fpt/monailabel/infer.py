"""The two infer tasks: what an image is (``classification``), and where the network looked (``segmentation``).

The second is a segmentation for no other reason than that clients show those: 3D Slicer and OHIF load its label map over the
image, QuPath, DSA and CVAT its outlines. Its labels are bands of the map, ``saliency_25`` the part that has at least a
quarter of the strongest token's evidence for the class; they are no findings, and a label saved with them does not count
them, see :mod:`~monai_fpt.monailabel.label_forms`.

Decisions:

- An image of the studies is answered from the cache: the first question about it pays the backbone, the map is then almost
  free.
- ``uncertainty`` is the entropy of the probabilities (after temperature scaling where the model has it) as a share of the
  highest there can be, 0 certain, 1 undecided; with several labels the mean over them.
- An answer says which version of the model gave it, and whether that has learned anything yet.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from skimage.measure import approximate_polygon, find_contours

from monai_fpt.data import FPTImageReader, read_medical_image
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.geometry import LABEL_MAP_SUFFIXES, file_geometry, heat_on_file, write_label_map
from monai_fpt.monailabel.label_forms import SALIENCY_PREFIX
from monai_fpt.monailabel.model import Asked, ModelVersion, PresentModel
from monai_fpt.registry import FPTAnswer

__all__ = ["SALIENCY_BANDS", "FPTInferTask", "FPTSaliencyTask", "uncertainty"]

SALIENCY_BANDS = (0.25, 0.5, 0.75)
_COLOURS = ((255, 237, 160), (254, 178, 76), (240, 59, 32))
_CLASS_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))


def uncertainty(probabilities: Sequence[float], task: str = "multiclass") -> float:
    """Entropy as a share of the highest there can be.

    Args:
        probabilities: one a class.
        task: ``"multiclass"``, or ``"multilabel"`` for the mean of the classes' own.

    Returns:
        a number in [0, 1].

    Example:
        >>> uncertainty([0.5, 0.5]), uncertainty([1.0, 0.0])
        (1.0, 0.0)
    """
    if task == "multilabel":
        return sum(uncertainty([p, 1 - p]) for p in probabilities) / len(probabilities)
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    return min(1.0, max(0.0, entropy / math.log(len(probabilities)))) if len(probabilities) > 1 else 0.0


class _StudyInferTask(InferTask):  # type: ignore[misc]
    """What both tasks have in common.

    Args:
        model: the app's present model.
        kind: of the task.
        labels: name to index.
        description: shown to clients.
        config: options with their defaults; a list is a choice, whose first is the default.
    """

    def __init__(
        self, model: PresentModel, kind: InferType, labels: dict[str, int], description: str, config: Mapping[str, Any]
    ) -> None:
        super().__init__(kind, labels, 2, description, dict(config))
        self.model = model

    def is_valid(self) -> bool:
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """The file of the present weights, which clients download and whose change they see.

        Raises:
            RequestError: 409, a client wants to put a file in its place (``validate`` false).
        """
        if not validate:
            raise RequestError(
                409, "A model is not exchanged by sending a file; train on labels, or begin with another app folder."
            )
        return self.model.weights_file()

    def __call__(self, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer one request.

        Args:
            request: ``image``, the path of a file; ``image_id`` where it is one of the studies; and options.

        Returns:
            a file for the client, or None; and the JSON.
        """
        asked = self.config() | {key: value for key, value in request.items() if value is not None}
        path = str(asked["image"])
        start = time.monotonic()
        seen = self.model.study(asked["image_id"], path) if asked.get("image_id") else self.model.sent(path)
        read = time.monotonic()
        version = self.model.present()
        answer = self.model.answer(seen, version)
        result = self._described(answer, version)
        file = self._result(asked, path, seen, answer, version, result)
        done = time.monotonic()
        result["label_names"] = self.labels
        result["latencies"] = _latencies(pre=read - start, infer=done - read)
        result["centroids"] = {}
        if asked.get("output") in ("asap", "dsa") and asked.get("result_write_to_file", True):
            file = _annotation_file(asked, result)
        return file, result

    @abstractmethod
    def _result(
        self,
        asked: Mapping[str, Any],
        path: str,
        seen: Asked,
        answer: FPTAnswer,
        version: ModelVersion,
        result: dict[str, Any],
    ) -> str | None:
        """Add to the JSON; the file where there is one."""

    def _described(self, answer: FPTAnswer, version: ModelVersion) -> dict[str, Any]:
        shown = answer.calibrated or answer.probabilities
        scores = [
            {"idx": index, "label": name, "score": score}
            for index, (name, score) in enumerate(zip(answer.classes, shown, strict=True))
        ]
        best = max(range(len(shown)), key=lambda index: shown[index])
        described: dict[str, Any] = {
            "prediction": scores,
            "label": answer.classes[best],
            "labels": list(answer.predicted),
            "score": shown[best],
            "uncertainty": uncertainty(shown, answer.task),
            "calibrated": answer.calibrated is not None,
            "model_version": version.number,
            "trained": version.trained,
        }
        if answer.passed is not None:
            described["passed"] = dict(answer.passed)
        return described


class FPTInferTask(_StudyInferTask):
    """What an image is. The answer is JSON; with ``save_label`` the prediction is also a file, which the app keeps.

    Args:
        model: the app's present model.
    """

    def __init__(self, model: PresentModel) -> None:
        labels = {name: index for index, name in enumerate(model.card.classes)}
        super().__init__(
            model,
            InferType.CLASSIFICATION,
            labels,
            "FPT+ classifier of high-resolution images",
            {"device": [model.device]},
        )

    def _result(
        self,
        asked: Mapping[str, Any],
        path: str,
        seen: Asked,
        answer: FPTAnswer,
        version: ModelVersion,
        result: dict[str, Any],
    ) -> str | None:
        if asked.get("output") in ("asap", "dsa"):
            height, width = _size(path, self.model)
            frame = [[0, 0], [width, 0], [width, height], [0, height]]
            result["annotation"] = _annotation(
                [(name, [frame]) for name in answer.predicted],
                {name: _CLASS_COLOURS[i % len(_CLASS_COLOURS)] for i, name in enumerate(answer.classes)},
            )
        if not asked.get("save_label"):
            return None
        kept = {key: result[key] for key in ("prediction", "uncertainty", "model_version")}
        named = {"label": answer.predicted[0]} if answer.task == "multiclass" else {"labels": list(answer.predicted)}
        return _temporary(".json", json.dumps(named | kept).encode())


class FPTSaliencyTask(_StudyInferTask):
    """Where the network looked for evidence of a class, as a label map of bands on the file's own pixels.

    Request options: ``class``, the predicted one where absent; ``result_extension`` out of
    :data:`~monai_fpt.monailabel.geometry.LABEL_MAP_SUFFIXES`; ``result_compress``; ``output`` ``json``, ``asap`` or ``dsa`` for
    outlines instead of a label map.

    Args:
        model: the app's present model.
    """

    def __init__(self, model: PresentModel) -> None:
        labels = {
            f"{SALIENCY_PREFIX}_{round(100 * band)}": number for number, band in enumerate(SALIENCY_BANDS, start=1)
        }
        config = {
            "device": [model.device],
            "class": ["predicted", *model.card.classes],
            "result_extension": ".nrrd",
            "result_compress": False,
        }
        super().__init__(model, InferType.SEGMENTATION, labels, "Where FPT+ looked for evidence of a class", config)

    def _result(
        self,
        asked: Mapping[str, Any],
        path: str,
        seen: Asked,
        answer: FPTAnswer,
        version: ModelVersion,
        result: dict[str, Any],
    ) -> str | None:
        wanted = _first(asked["class"])
        class_name = result["label"] if wanted == "predicted" else wanted
        suffix = _first(asked["result_extension"])
        if suffix not in LABEL_MAP_SUFFIXES:
            raise RequestError(
                400, f"A label map is not written as {suffix[:20]!r}; ask for one of {', '.join(LABEL_MAP_SUFFIXES)}."
            )
        if asked.get("result_dtype") not in (None, "uint8"):
            raise RequestError(
                400, f"A label map has bytes, not {str(asked['result_dtype'])[:20]!r}; ask for result_dtype uint8."
            )
        seen_map = self.model.attention(seen, class_name, version)
        heat, frame = heat_on_file(seen_map.heat()[0, 0].cpu(), path, self.model.card)
        values = np.digitize(heat, SALIENCY_BANDS).astype(np.uint8)
        result["saliency"] = {
            "class": class_name,
            "method": "integrated gradient attention",
            "bands": list(SALIENCY_BANDS),
            "share_without_place": float(seen_map.prefix_share()[0, 0]),
        }
        outlines = [(name, _outlines(values >= number)) for name, number in self.labels.items()]
        colours = dict(zip(self.labels, _COLOURS, strict=True))
        if asked.get("output") in ("json", "asap", "dsa"):
            result["annotation"] = _annotation(outlines, colours)
            result["annotations"] = [{"annotation": result["annotation"]}]
            return None
        geometry = file_geometry(path)
        file = _temporary(suffix)
        write_label_map(values, geometry, file, frame, bool(asked.get("result_compress")))
        return file


def _first(value: Any) -> str:
    """The choice of a client; one that chose nothing sends all choices, and the first is the default."""
    return str((value or [""])[0] if isinstance(value, list) else value)


def _outlines(mask: npt.NDArray[np.bool_]) -> list[list[list[int]]]:
    """Polygons of columns and rows about the regions of a mask."""
    padded = np.pad(mask, 1)
    polygons = [approximate_polygon(line, 1.0) - 1 for line in find_contours(padded.astype(np.uint8), 0.5)]
    height, width = mask.shape
    return [
        [[int(np.clip(round(x), 0, width - 1)), int(np.clip(round(y), 0, height - 1))] for y, x in polygon]
        for polygon in polygons
        if len(polygon) > 3
    ]


def _annotation(
    elements: Sequence[tuple[str, list[list[list[int]]]]], colours: Mapping[str, tuple[int, int, int]]
) -> dict[str, Any]:
    return {
        "location": [0, 0],
        "size": [0, 0],
        "elements": [{"label": name, "contours": contours} for name, contours in elements if contours],
        "labels": {name: list(colour) for name, colour in colours.items()},
    }


def _annotation_file(asked: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """ASAP XML or DSA JSON, written by MONAI Label's own functions."""
    from monailabel.utils.others.pathology import create_asap_annotations_xml, create_dsa_annotations_json

    annotation = result["annotation"]
    if asked["output"] == "asap":  # its writer does not escape
        annotation = {
            **annotation,
            "elements": [{**part, "label": escape(part["label"])} for part in annotation["elements"]],
            "labels": {escape(name): colour for name, colour in annotation["labels"].items()},
        }
    content = {
        "name": f"MONAILabel Annotations - {asked.get('model', 'fpt')}",
        "description": escape(str(asked.get("description", ""))),
        "model": asked.get("model", "fpt"),
        "location": [0, 0],
        "size": [0, 0],
        "annotations": [{"annotation": annotation}],
        "latencies": result["latencies"],
    }
    write = create_asap_annotations_xml if asked["output"] == "asap" else create_dsa_annotations_json
    return str(write(content, "WARNING")[0])


def _temporary(suffix: str, content: bytes = b"") -> str:
    with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as file:
        file.write(content)
    return file.name


def _latencies(**seconds: float) -> dict[str, Any]:
    """In the shape that clients and the server's own code read."""
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return {
        "invert": 0.0,
        "post": 0.0,
        "write": 0.0,
        **rounded,
        "total": round(sum(seconds.values()), 3),
        "transform": {},
    }


def _size(path: str | Path, model: PresentModel) -> tuple[int, int]:
    facts = read_medical_image(path, FPTImageReader(**model.card.reader).options).facts
    return facts.height, facts.width
