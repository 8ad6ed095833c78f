"""From a trained run to one file that answers without this package: ONNX, ``torch.export`` or TorchScript.

``fpt_export`` writes the file, loads it again and compares its answers with the model's before it lets it appear. See ``docs/export.md``.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.export.agreement import FPTAgreement, FPTExportError
from monai_fpt.export.export import FPTExported, fpt_export
from monai_fpt.export.facts import FACTS_KEY
from monai_fpt.export.network import FPTDeployedNetwork

__all__ = ["FACTS_KEY", "FPTAgreement", "FPTDeployedNetwork", "FPTExportError", "FPTExported", "fpt_export"]
