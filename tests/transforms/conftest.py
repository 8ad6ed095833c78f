"""Import monai_fpt before the test modules import torchvision: it makes that possible beside a CPU-only torch."""

from __future__ import annotations

import monai_fpt  # noqa: F401
