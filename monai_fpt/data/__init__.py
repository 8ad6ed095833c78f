"""Where images and labels come from: one image as the eye sees it, and data lists of folders and tables."""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.data.build import build_data_list, build_prediction_list
from monai_fpt.data.datalist import FPTDataList
from monai_fpt.data.errors import ImageReadError
from monai_fpt.data.facts import ImageFacts, ImageOptions, MedicalImage
from monai_fpt.data.folders import data_list_from_folders, data_list_from_images
from monai_fpt.data.image import image_suffixes, is_image_file, load_medical_image, read_medical_image
from monai_fpt.data.reader import FPTImageReader, FPTLoadImaged
from monai_fpt.data.table import data_list_from_table

__all__ = [
    "FPTDataList",
    "FPTImageReader",
    "FPTLoadImaged",
    "ImageFacts",
    "ImageOptions",
    "ImageReadError",
    "MedicalImage",
    "build_data_list",
    "build_prediction_list",
    "data_list_from_folders",
    "data_list_from_images",
    "data_list_from_table",
    "image_suffixes",
    "is_image_file",
    "load_medical_image",
    "read_medical_image",
]
