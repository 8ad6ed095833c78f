"""What stands inside an exported file besides the network, as one JSON object: what it answers, and what must have been done to an image.

Whoever gets the file has nothing else: neither the run's folder nor this package. No folder of the machine that trained is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_fpt._version import __version__
from monai_fpt.metrics import fpt_weights_sha256
from monai_fpt.registry.backbone import FPTBackboneReference
from monai_fpt.registry.predictor import BACKBONE_FILE, FPTPredictor

__all__ = ["FACTS_KEY", "export_facts"]

FACTS_KEY = "monai_fpt"
_VERSION = 1
_IMAGE = (
    "RGB, or grey in all three channels; read with the options in 'reader' and prepared with the transforms in 'preparing'; values as float32 "
    "in [0, 1], not normalised (normalisation is inside); resized to the square with antialiased bilinear interpolation, aspect not kept. An "
    "image outside [0, 1] is answered with NaN."
)


def export_facts(predictor: FPTPredictor, run: Path, backbone_licence: str | None = None) -> dict[str, Any]:
    """A JSON-ready dictionary.

    Args:
        predictor: the loaded model.
        run: the folder it was loaded from.
        backbone_licence: of the backbone's weights, which the file contains, where timm states none.
    """
    card, network, calibration = predictor.card, predictor.network, predictor.calibration
    reference = _reference(predictor, run, backbone_licence)
    size = network.backbone.image_size
    activation = "sigmoid" if card.task == "multilabel" else "softmax"
    return {
        "format": "monai_fpt export",
        "format_version": _VERSION,
        "made_with": {"monai_fpt": __version__, "torch": torch.__version__},
        "input": {"image": {"dtype": "float32", "shape": ["batch", 3, size, size], "range": [0, 1], "content": _IMAGE}},
        "outputs": {
            "logits": {"dtype": "float32", "shape": ["batch", len(card.classes)]},
            "probabilities": {"dtype": "float32", "shape": ["batch", len(card.classes)], "activation": activation},
        },
        "classes": list(card.classes),
        "task": card.task,
        "ordered": card.ordered,
        "image_size": size,
        "normalization_inside": card.normalization(network.backbone.mean, network.backbone.std),
        "reader": dict(card.reader),
        "preparing": list(card.preparing),
        "calibration": None
        if calibration is None
        else {
            "temperature": calibration.temperature,
            "thresholds": dict(calibration.thresholds),
            "aggregate": calibration.aggregate,
        },
        "network": {name: value for name, value in card.network.to_dict().items() if name != "backbone_weights"},
        "weights_sha256": fpt_weights_sha256(network),
        "data_digest": card.data_digest,
        "backbone": reference.to_dict() | {"embedded": "", "licence": reference.licence or "not stated"},
    }


def _reference(predictor: FPTPredictor, run: Path, licence: str | None) -> FPTBackboneReference:
    if licence is None and (run / BACKBONE_FILE).is_file():
        return FPTBackboneReference.load(run / BACKBONE_FILE)
    backbone = predictor.network.backbone
    return FPTBackboneReference.of(predictor.network.config, backbone.fingerprint, licence)
