"""monai_fpt: fine-grained prompt tuning (FPT+ and FPT) of frozen vision transformers, as a MONAI plugin.

An image is read once by a frozen backbone; what matters of it is kept in a cache; a small network learns from the
cache. See ``docs/architecture.md`` for the rooms of the package and the way of the data. The package itself imports nothing: a command
line that is only asked for its help, or a program that needs one room, does not wait for the others.
"""

from __future__ import annotations

from monai_fpt._version import __version__

__all__ = ["__version__"]
