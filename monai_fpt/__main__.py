"""``python -m monai_fpt`` is ``monai-fpt``."""

from __future__ import annotations

from monai_fpt.cli import main

if __name__ == "__main__":
    main()
