"""Small checks that a bundle makes before it works: a model that is there, a switch that is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_fpt.handlers.run_dir import CARD_FILE

__all__ = ["fpt_flag", "fpt_require_model"]

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def fpt_flag(value: Any, name: str) -> bool:
    """A switch of the command line as a bool; ``python -m monai.bundle`` hands over ``false`` as a text, which Python takes for true.

    Args:
        value: a bool, 0 or 1, or one of the words true, false, yes, no in any case.
        name: of the id, for the message.

    Raises:
        ValueError: anything else.
    """
    known = _WORDS.get(str(value).strip().lower())
    if known is None:
        raise ValueError(f"{name}={value!r} is neither true nor false.")
    return known


def fpt_require_model(run_dir: str | Path, ckpt_path: str | Path) -> None:
    """Refuse to evaluate or predict where nothing was trained.

    Args:
        run_dir: must hold ``model.json``.
        ckpt_path: the weights, usually ``model.pt`` beside it.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    missing = next((path for path in (Path(ckpt_path), Path(run_dir) / CARD_FILE) if not path.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(
            f'There is no trained model in "{missing.parent}" ({missing.name} is missing); train one first, or give its run_dir.'
        )
