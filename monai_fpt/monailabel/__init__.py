"""FPT+ in MONAI Label: predict, correct, retrain. Everything that imports ``monailabel`` stands in this package, and nothing
imports this package; it needs an environment of its own, see docs/monailabel.md.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
