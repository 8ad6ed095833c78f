"""The folder of a training: never written over, and complete enough that another process can use what was trained in
it.

What an evaluation left in it is of the weights that it had then. A training that begins or goes on there changes them, so predictions,
calibration and report of before are set aside first (``before_resume``): a training that is killed leaves none that look like its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from monai_fpt.data import FPTDataList
from monai_fpt.features import FPTModelCard
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers.checkpoint import LAST_FILE, MODEL_FILE

__all__ = ["CARD_FILE", "DATA_LIST_FILE", "SET_ASIDE", "fpt_prepare_run"]

CARD_FILE = "model.json"
DATA_LIST_FILE = "data_list.json"
SET_ASIDE = "before_resume"
_SECTIONS = ("training", "validation", "test")
_OF_WEIGHTS = (
    "calibration.json",
    *(
        f"report{section}.{suffix}"
        for section in ("", *(f"_{one}" for one in _SECTIONS))
        for suffix in ("html", "json")
    ),
    *(f"{section}_predictions.{suffix}" for section in _SECTIONS for suffix in ("csv", "json")),
    *(f"{section}_patients.csv" for section in _SECTIONS),
)


def fpt_prepare_run(run_dir: str | Path, data: FPTDataList, card: FPTModelCard, resume: bool = False) -> None:
    """Write ``data_list.json`` and ``model.json`` into the run's folder before anything expensive begins, and set aside what was
    evaluated there before.

    Args:
        run_dir: made when missing.
        data: images, labels and sections of the training.
        card: what the network will be.
        resume: go on with a training that is there.

    Raises:
        FileExistsError: the folder holds a training and ``resume`` is false.
        ValueError: the training that is to be resumed has other data or another network.
    """
    if process_rank() != 0:
        return
    folder = Path(run_dir)
    if not resume and any((folder / name).exists() for name in (LAST_FILE, MODEL_FILE)):
        raise FileExistsError(
            f'run_dir "{folder}" holds a training already; continue it with --resume true, or choose another run_dir.'
        )
    if resume and (folder / CARD_FILE).exists() and (folder / LAST_FILE).exists():
        before = FPTModelCard.load(folder / CARD_FILE)
        if before.data_digest != card.data_digest:
            raise ValueError(
                f'The data list is not the one that the training in "{folder}" began with; restore it, or start in another run_dir.'
            )
        if before != card:
            raise ValueError(
                f'The network or its features are not those that the training in "{folder}" began with; restore the settings, or start in another run_dir.'
            )
    folder.mkdir(parents=True, exist_ok=True)
    _set_aside(folder)
    data.save(folder / DATA_LIST_FILE)
    card.save(folder / CARD_FILE)
    print(data.summary(), flush=True)


def _set_aside(folder: Path) -> None:
    """Move what was evaluated with the weights of before; the newest of each name is kept."""
    stale = [folder / name for name in _OF_WEIGHTS if (folder / name).is_file()]
    for path in stale:
        (folder / SET_ASIDE).mkdir(exist_ok=True)
        os.replace(path, folder / SET_ASIDE / path.name)
    if stale:
        print(f"Predictions and reports of the weights before are now in {folder / SET_ASIDE}.", flush=True)
