"""Small checks that a bundle makes before it works: a model that is there, a switch that is one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Randomizable

from monai_fpt.data.flags import fpt_flag
from monai_fpt.handlers.run_dir import CARD_FILE
from monai_fpt.transforms import fpt_transforms

__all__ = ["fpt_amp", "fpt_check_preparing", "fpt_flag", "fpt_require_model"]


def fpt_amp(value: Any, device: str | torch.device) -> bool:
    """Whether to compute in mixed precision: the ``amp`` of a configuration.

    Args:
        value: of the configuration.
        device: where will be computed.

    Raises:
        ValueError: ``value`` is no switch, or it is on and the device is no CUDA GPU: MONAI's engines autocast for CUDA alone and
            would compute in float32 without a word.
    """
    wanted: bool = fpt_flag(value, "amp")
    if wanted and torch.device(device).type != "cuda":
        raise ValueError(
            f"amp is on, but the device is {torch.device(device)}: MONAI's engines have mixed precision on CUDA GPUs only; set amp to false "
            '(on a CPU it would not be faster), and compute_dtype to "bfloat16" for a faster extraction.'
        )
    return wanted


def fpt_check_preparing(transforms: Iterable[Any], entries: Sequence[Mapping[str, Any]]) -> None:
    """Look at what is done to images before the backbone reads them.

    Args:
        transforms: the chain of ``preparing``.
        entries: the same as configuration, which a model carries in ``model.json``.

    Raises:
        ValueError: a random transform: features are made once, so a chance would be frozen into them.

    Warns:
        UserWarning: a model could not rebuild an entry by itself, for it may rebuild only transforms that cannot run foreign
            code.
    """
    random = [type(one).__name__ for one in transforms if isinstance(one, Randomizable)]
    if random:
        raise ValueError(
            f"preparing holds the random {', '.join(random)}, but features are made once and kept; put it into "
            "train#preprocessing, which sees the side image in every epoch."
        )
    try:
        fpt_transforms(entries)
    except ValueError as error:
        warnings.warn(
            f"This model will not know its own preparing ({error}); give evaluation and prediction the same configuration.",
            stacklevel=2,
        )


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
