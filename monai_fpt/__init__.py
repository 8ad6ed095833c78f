"""monai_fpt: fine-grained prompt tuning (FPT+ and FPT) of frozen vision transformers, as a MONAI plugin.

An image is read once by a frozen backbone; what matters of it is kept in a cache; a small network learns from the
cache. See ``docs/architecture.md`` for the rooms of the package and the way of the data.
"""

from __future__ import annotations

from monai_fpt._torchvision import ensure_torchvision
from monai_fpt._version import __version__

ensure_torchvision()

__all__ = ["__version__"]
