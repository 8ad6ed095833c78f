"""The public data sets of the paper and MedMNIST+, each as a MONAI dataset and as a data list.

A loader says which file of a user's folder is which image of the data set, with its label and the patient or lesion it
belongs to; everything else is shared. See ``docs/datasets.md`` for the table of data sets and what each loader guards
against.
"""

from __future__ import annotations

from monai_fpt.data.datasets.base import FPTPublicDataset
from monai_fpt.data.datasets.check import FPTDatasetCheck, check_fpt_dataset
from monai_fpt.data.datasets.cmmd import CMMDDataset
from monai_fpt.data.datasets.covid import COVIDCXRDataset
from monai_fpt.data.datasets.ddr import DDRDataset
from monai_fpt.data.datasets.isic2016 import ISIC2016Dataset
from monai_fpt.data.datasets.isic2018 import ISIC2018Dataset
from monai_fpt.data.datasets.medmnist import MedMNISTPlusDataset
from monai_fpt.data.datasets.messidor2 import Messidor2Dataset
from monai_fpt.data.datasets.mini_ddsm import MiniDDSMDataset
from monai_fpt.data.datasets.registry import download_fpt_dataset, fpt_dataset_list, fpt_datasets, named_fpt_dataset
from monai_fpt.data.datasets.shenzhen import ShenzhenCXRDataset
from monai_fpt.data.datasets.unpack import merge_parts

__all__ = [
    "CMMDDataset",
    "COVIDCXRDataset",
    "DDRDataset",
    "FPTDatasetCheck",
    "FPTPublicDataset",
    "ISIC2016Dataset",
    "ISIC2018Dataset",
    "MedMNISTPlusDataset",
    "Messidor2Dataset",
    "MiniDDSMDataset",
    "ShenzhenCXRDataset",
    "check_fpt_dataset",
    "download_fpt_dataset",
    "fpt_dataset_list",
    "fpt_datasets",
    "merge_parts",
    "named_fpt_dataset",
]
