"""The public data sets by name: list them, load one, fetch one.

A name is that of the preset. MedMNIST+ also answers to its subsets: ``pathmnist``, ``pathmnist_64``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_fpt.data.datalist import FPTDataList
from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.cmmd import CMMDDataset
from monai_fpt.data.datasets.covid import COVIDCXRDataset
from monai_fpt.data.datasets.ddr import DDRDataset
from monai_fpt.data.datasets.isic2016 import ISIC2016Dataset
from monai_fpt.data.datasets.isic2018 import ISIC2018Dataset
from monai_fpt.data.datasets.medmnist import MedMNISTPlusDataset
from monai_fpt.data.datasets.medmnist_facts import MEDMNIST_SUBSETS
from monai_fpt.data.datasets.messidor2 import Messidor2Dataset
from monai_fpt.data.datasets.mini_ddsm import MiniDDSMDataset
from monai_fpt.data.datasets.shenzhen import ShenzhenCXRDataset

__all__ = ["download_fpt_dataset", "fpt_dataset_list", "fpt_datasets", "named_fpt_dataset"]

_DATASETS: tuple[type[FPTPublicDataset], ...] = (
    Messidor2Dataset,
    DDRDataset,
    ISIC2016Dataset,
    ISIC2018Dataset,
    MiniDDSMDataset,
    CMMDDataset,
    COVIDCXRDataset,
    ShenzhenCXRDataset,
    MedMNISTPlusDataset,
)


def fpt_datasets() -> dict[str, type[FPTPublicDataset]]:
    """The classes by name, in the order of the paper's tables.

    Example:
        >>> list(fpt_datasets())[:3]
        ['messidor2', 'ddr', 'isic2016']
    """
    return {dataset.name: dataset for dataset in _DATASETS}


def named_fpt_dataset(name: str, options: dict[str, Any]) -> tuple[type[FPTPublicDataset], dict[str, Any]]:
    """The class of a name, and its options with what the name says.

    Args:
        name: a name of :func:`fpt_datasets`, or a subset of MedMNIST+ with or without its size.
        options: of the data set.

    Raises:
        ValueError: the name or an option is unknown, or name and options contradict each other.

    Example:
        >>> named_fpt_dataset("pathmnist_64", {})
        (<class 'monai_fpt.data.datasets.medmnist.MedMNISTPlusDataset'>, {'subset': 'pathmnist', 'size': 64})
    """
    lowered = name.strip().lower().replace("-", "_")
    known = fpt_datasets()
    subset, _, size = lowered.partition("_")
    if subset in MEDMNIST_SUBSETS and (not size or size.isdecimal()):
        told: dict[str, Any] = {"subset": subset} | ({"size": int(size)} if size else {})
        clashing = [key for key, value in told.items() if options.get(key, value) != value]
        if clashing:
            raise ValueError(
                f"data sets: name {name!r} and option {clashing[0]}={options[clashing[0]]!r} differ; leave one out."
            )
        lowered, options = MedMNISTPlusDataset.name, {**options, **told}
    if lowered not in known:
        raise ValueError(f"data sets: there is no {name!r}; choose one of {list(known)}, or a subset of MedMNIST+.")
    return known[lowered], known[lowered].check_options(options)


def fpt_dataset_list(
    name: str,
    root_dir: str | Path,
    *,
    split: str = "auto",
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    progress: bool = True,
    **options: Any,
) -> FPTDataList:
    """Data list of a public data set, in the form that folders and tables give.

    Args:
        name: see :func:`named_fpt_dataset`.
        root_dir: see :class:`~monai_fpt.data.datasets.base.FPTPublicDataset`, like what follows.
        split: ``"auto"``, ``"official"``, ``"grouped"`` or ``"image"``.
        seed: another seed, another split.
        val_fraction: share for validation.
        test_fraction: share for the test.
        progress: whether bars are shown.
        options: of this very data set, such as ``label_level``; unknown ones are refused.

    Raises:
        ValueError: an argument, or files that contradict each other.
        RuntimeError: the data set is not there; the text tells how to get it.
    """
    dataset, chosen = named_fpt_dataset(name, options)
    return dataset.build_list(
        root_dir,
        split=split,
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        progress=progress,
        options=chosen,
    )


def download_fpt_dataset(name: str, root_dir: str | Path, *, progress: bool = True, **options: Any) -> None:
    """Fetch what is missing of a public data set; an interrupted download goes on.

    Args:
        name: see :func:`named_fpt_dataset`.
        root_dir: an existing folder.
        progress: whether bars are shown.
        options: of this very data set.

    Raises:
        ValueError: an argument, or files that contradict each other.
        RuntimeError: the data set cannot be fetched by a program (the text lists the steps), or a download failed.
    """
    dataset, chosen = named_fpt_dataset(name, options)
    dataset.download_into(dataset.existing_root(root_dir), chosen, progress=progress)
