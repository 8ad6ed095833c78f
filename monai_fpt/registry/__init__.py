"""From a trained run to the MLflow model registry and back, and serving.

``package_model`` gathers what a model is, ``register_model`` takes it to the registry, ``promote_model`` compares it with the
champion, ``load_registered`` brings it back as an ``FPTPredictor``, and ``serving`` answers requests. See ``docs/registry.md`` and
``docs/serving.md``.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.registry.backbone import FPTBackboneReference
from monai_fpt.registry.loading import fetch_package, load_registered
from monai_fpt.registry.package import FPTPackage, FPTPackageError, package_model
from monai_fpt.registry.predictor import FPTAnswer, FPTPredictor
from monai_fpt.registry.promotion import FPTPromotion, promote_model
from monai_fpt.registry.register import FPTRegistered, register_model

__all__ = [
    "FPTAnswer",
    "FPTBackboneReference",
    "FPTPackage",
    "FPTPackageError",
    "FPTPredictor",
    "FPTPromotion",
    "FPTRegistered",
    "fetch_package",
    "load_registered",
    "package_model",
    "promote_model",
    "register_model",
]
