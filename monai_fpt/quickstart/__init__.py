"""A first run that needs nothing: pictures drawn on the spot, a small backbone that ships with the package, settings
for two cores.

It shows the method rather than a benchmark. The class hangs on details that vanish at the size the side network
reads, so that a side network alone stays at chance, and the same side network with the features of the frozen
backbone does not.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.quickstart.images import CLASS_NAMES, SCENES_PER_SPLIT, generate_quickstart_images
from monai_fpt.quickstart.run import quickstart_overrides, run_quickstart

__all__ = ["CLASS_NAMES", "SCENES_PER_SPLIT", "generate_quickstart_images", "quickstart_overrides", "run_quickstart"]
