"""CT windows in Hounsfield units: the usual ones by name, and the linear map of a window to [0, 1].

A window is (centre, width): centre - width / 2 is black, centre + width / 2 is white. The values are the common ones of
radiology textbooks (for example radiopaedia.org/articles/windowing-ct); they are conventions, not a standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["HU_WINDOWS", "hu_window", "resolved_windows"]

HU_WINDOWS: dict[str, tuple[float, float]] = {
    "full": (1023.5, 4095.0),  # -1024 to 3071, all that a 12-bit scanner gives
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft_tissue": (40.0, 400.0),
    "abdomen": (60.0, 400.0),
    "liver": (30.0, 150.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "subdural": (75.0, 215.0),
    "stroke": (32.0, 8.0),
}


def resolved_windows(windows: Sequence[Any]) -> tuple[tuple[float, float], ...]:
    """Windows as numbers.

    Args:
        windows: names of :data:`HU_WINDOWS`, or pairs (centre, width) in HU, width above 0.

    Returns:
        one (centre, width) each.

    Raises:
        ValueError: an unknown name, or no such pair.

    Example:
        >>> resolved_windows(["lung", (40, 400)])
        ((-600.0, 1500.0), (40.0, 400.0))
    """
    found = []
    for window in windows:
        if isinstance(window, str):
            if window not in HU_WINDOWS:
                raise ValueError(
                    f"CT window {window!r} is unknown; choose one of {', '.join(HU_WINDOWS)}, or give [centre, width] in HU."
                )
            found.append(HU_WINDOWS[window])
            continue
        try:
            center, width = (float(number) for number in window)
        except (TypeError, ValueError):
            center, width = 0.0, 0.0
        if not (width > 0 and np.isfinite([center, width]).all()):
            raise ValueError(
                f"CT window {window!r} is neither a name nor [centre, width] in HU with a width above 0; correct it."
            )
        found.append((center, width))
    return tuple(found)


def hu_window(values: npt.NDArray[Any], center: float, width: float) -> npt.NDArray[np.float32]:
    """Values through one window.

    Args:
        values: Hounsfield units, any shape.
        center: of the window, in HU.
        width: of the window, in HU, above 0.

    Returns:
        float32 of the same shape in [0, 1].

    Example:
        >>> hu_window(np.array([-1000, 40, 240]), 40, 400)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    return np.clip((values.astype(np.float64) - center) / width + 0.5, 0, 1).astype(np.float32)
