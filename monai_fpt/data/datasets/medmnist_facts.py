"""What the twelve two-dimensional subsets of MedMNIST+ are: labels, sizes, addresses and checksums.

Facts of ``medmnist/info.py`` of the package medmnist 3.0.2 (Apache-2.0), https://github.com/MedMNIST/MedMNIST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MEDMNIST_RECORD", "MEDMNIST_SIZES", "MEDMNIST_SUBSETS", "FPTMedMNISTSubset"]

MEDMNIST_RECORD = "https://zenodo.org/records/10519652/files/"
MEDMNIST_SIZES = (64, 128, 224)


@dataclass(frozen=True)
class FPTMedMNISTSubset:
    """One subset.

    Args:
        task: ``multi-class``, ``binary-class``, ``multi-label`` or ``ordinal-regression``.
        classes: label names in the order of their numbers.
        channels: 1 for grey, 3 for colour.
        images: images of training, validation and test.
        md5: MD5 of the .npz file by image size.
        licence: its licence.
    """

    task: str
    classes: tuple[str, ...]
    channels: int
    images: tuple[int, int, int]
    md5: Mapping[int, str]
    licence: str = "CC BY 4.0"


MEDMNIST_SUBSETS: dict[str, FPTMedMNISTSubset] = {
    "pathmnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        channels=3,
        images=(89996, 10004, 7180),
        md5={
            64: "55aa9c1e0525abe5a6b9d8343a507616",
            128: "ac42d08fb904d92c244187169d1fd1d9",
            224: "2c51a510bcdc9cf8ddb2af93af1eadec",
        },
    ),
    "chestmnist": FPTMedMNISTSubset(
        task="multi-label",
        classes=(
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        channels=1,
        images=(78468, 11219, 22433),
        md5={
            64: "9de6cd0b934ebb5b7426cfba5efbae16",
            128: "db107e5590b27930b62dbaf558aebee3",
            224: "45bd33e6f06c3e8cdb481c74a89152aa",
        },
    ),
    "dermamnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        channels=3,
        images=(7007, 1003, 2005),
        md5={
            64: "b70a2f5635c6199aeaa28c31d7202e1f",
            128: "2defd784463fa5243564e855ed717de1",
            224: "8974907d8e169bef5f5b96bc506ae45d",
        },
        licence="CC BY-NC 4.0",
    ),
    "octmnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        channels=1,
        images=(97477, 10832, 1000),
        md5={
            64: "e229e9440236b774d9f0dfef9d07bdaf",
            128: "0a97e76651ace45c5d943ee3f65b63ae",
            224: "abc493b6d529d5de7569faaef2773ba3",
        },
    ),
    "pneumoniamnist": FPTMedMNISTSubset(
        task="binary-class",
        classes=("normal", "pneumonia"),
        channels=1,
        images=(4708, 524, 624),
        md5={
            64: "8f4eceb4ccffa70c672198ea285246c6",
            128: "05b46931834c231683c68f40c47b2971",
            224: "d6a3c71de1b945ea11211b03746c1fe1",
        },
    ),
    "retinamnist": FPTMedMNISTSubset(
        task="ordinal-regression",
        classes=("0", "1", "2", "3", "4"),
        channels=3,
        images=(1080, 120, 400),
        md5={
            64: "afda852cc34dcda56f86ad2b2457dbcc",
            128: "e48e916a24454daf90583d4e6efb1a18",
            224: "eae7e3b6f3fcbda4ae613ebdcbe35348",
        },
    ),
    "breastmnist": FPTMedMNISTSubset(
        task="binary-class",
        classes=("malignant", "normal, benign"),
        channels=1,
        images=(546, 78, 156),
        md5={
            64: "742edef2a1fd1524b2efff4bd7ba9364",
            128: "363e4b3f8d712e9b5de15470a2aaadf1",
            224: "b56378a6eefa9fed602bb16d192d4c8b",
        },
    ),
    "bloodmnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        channels=3,
        images=(11959, 1712, 3421),
        md5={
            64: "2b94928a2ae4916078ca51e05b6b800b",
            128: "adace1e0ed228fccda1f39692059dd4c",
            224: "b718ff6835fcbdb22ba9eacccd7b2601",
        },
    ),
    "tissuemnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "Collecting Duct, Connecting Tubule",
            "Distal Convoluted Tubule",
            "Glomerular endothelial cells",
            "Interstitial endothelial cells",
            "Leukocytes",
            "Podocytes",
            "Proximal Tubule Segments",
            "Thick Ascending Limb",
        ),
        channels=1,
        images=(165466, 23640, 47280),
        md5={
            64: "123ece2eba09d0aa5d698fda57103344",
            128: "61b955355d7425a89687b06cca3ce0c2",
            224: "b077128c4a949f0a4eb01517f9037b9c",
        },
    ),
    "organamnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "bladder",
            "femur-left",
            "femur-right",
            "heart",
            "kidney-left",
            "kidney-right",
            "liver",
            "lung-left",
            "lung-right",
            "pancreas",
            "spleen",
        ),
        channels=1,
        images=(34561, 6491, 17778),
        md5={
            64: "2dcccc29b88e6da5a01161ef20cda288",
            128: "eeae80d0a227a8d099027e1b3cfd3b60",
            224: "50747347e05c87dd3aaf92c49f9f3170",
        },
    ),
    "organcmnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "bladder",
            "femur-left",
            "femur-right",
            "heart",
            "kidney-left",
            "kidney-right",
            "liver",
            "lung-left",
            "lung-right",
            "pancreas",
            "spleen",
        ),
        channels=1,
        images=(12975, 2392, 8216),
        md5={
            64: "3ce34a8724ea6f548e6db4744d03b6a9",
            128: "773c1f009daa3fe5d9a2a201b2a7ed94",
            224: "050f5e875dc056f6768abf94ec9995d1",
        },
    ),
    "organsmnist": FPTMedMNISTSubset(
        task="multi-class",
        classes=(
            "bladder",
            "femur-left",
            "femur-right",
            "heart",
            "kidney-left",
            "kidney-right",
            "liver",
            "lung-left",
            "lung-right",
            "pancreas",
            "spleen",
        ),
        channels=1,
        images=(13932, 2452, 8827),
        md5={
            64: "53a6d115339d874c25e309a994ff46d3",
            128: "ded0c5fa01a95dc4978b956f613e9b8e",
            224: "b354719e553fbbb2513d5533f52a4cb1",
        },
    ),
}
