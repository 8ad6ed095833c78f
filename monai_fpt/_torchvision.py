"""Make ``import torchvision`` work where its compiled operators do not match the installed torch.

timm imports torchvision for its data transforms. A torchvision wheel built for CUDA beside a CPU-only torch fails at
import with ``RuntimeError: operator torchvision::nms does not exist``, although nothing here needs that operator.
Declaring the missing operators (without an implementation) is enough for transforms and models to import. Where
torchvision imports by itself nothing is done. Importing this module does it; rooms that import timm, torchmetrics or MONAI import it first.
"""

from __future__ import annotations

import sys

import torch

__all__ = ["ensure_torchvision"]

_library: torch.library.Library | None = None  # must outlive this module's functions: operators vanish with it


def ensure_torchvision() -> None:
    """Import torchvision, declaring ``nms`` and ``qnms`` first where the compiled part is missing.

    Raises:
        RuntimeError: torchvision fails to import for any other reason.
        ImportError: torchvision is not installed.
    """
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _library is not None:
            raise
        _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        for module in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
            del sys.modules[module]
        import torchvision  # noqa: F401


ensure_torchvision()
