"""Repairs torchvision before a test imports torchmetrics, which imports it."""

from __future__ import annotations

import monai_fpt  # noqa: F401
