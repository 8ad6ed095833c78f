"""The folder of a training: never written over, and complete enough that another process can use what was trained in
it.
"""

from __future__ import annotations

from pathlib import Path

from monai_fpt.data import FPTDataList
from monai_fpt.features import FPTModelCard
from monai_fpt.handlers._ranks import process_rank
from monai_fpt.handlers.checkpoint import LAST_FILE, MODEL_FILE

__all__ = ["CARD_FILE", "DATA_LIST_FILE", "fpt_prepare_run"]

CARD_FILE = "model.json"
DATA_LIST_FILE = "data_list.json"


def fpt_prepare_run(run_dir: str | Path, data: FPTDataList, card: FPTModelCard, resume: bool = False) -> None:
    """Write ``data_list.json`` and ``model.json`` into the run's folder before anything expensive begins.

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
    data.save(folder / DATA_LIST_FILE)
    card.save(folder / CARD_FILE)
    print(data.summary(), flush=True)
