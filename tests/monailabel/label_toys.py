"""A tiny model whose backbone's weights are a file, so that every process has the same; studies as a hospital keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from monai_fpt.features import FPTModelCard
from monai_fpt.networks import FPTClassifier, FPTConfig

CLASSES = ("benign", "malignant")


def tiny_run(folder: Path, **facts: Any) -> Path:
    """A run's folder with a network of two blocks as it was initialised; further facts go to its card."""
    from safetensors.torch import save_file

    from monai_fpt.networks._weights import create_trunk

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "backbone_weights.safetensors"
    torch.manual_seed(0)
    save_file(create_trunk("vit_tiny_patch16_224", None, {"depth": 2}).state_dict(), weights)
    config = FPTConfig(
        backbone="vit_tiny_patch16_224",
        backbone_weights=str(weights),
        image_size=64,
        side_size=32,
        num_tokens=4,
        num_classes=len(facts.get("classes", CLASSES)),
        backbone_kwargs={"depth": 2},
    )
    torch.manual_seed(1)
    torch.save(FPTClassifier(config).state_dict(), folder / "model.pt")
    FPTModelCard(config, **{"classes": CLASSES, **facts}).save(folder / "model.json")
    return folder


def picture(seed: int, shape: tuple[int, int] = (90, 70), bright: bool = False) -> npt.NDArray[np.uint8]:
    """(H, W, 3) noise, dark or bright."""
    low = 110 if bright else 20
    return np.random.default_rng(seed).integers(low, low + 100, (*shape, 3), dtype=np.uint8)


def draw_studies(folder: Path, count: int = 6) -> Path:
    """PNG, JPEG, upper case, a sub-folder; every second image is bright, which is the class ``malignant``."""
    names = ["img{:02d}.png", "ward1/img{:02d}.JPG", "img{:02d}.jpeg"]
    for number in range(count):
        path = folder / names[number % 3].format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, bright=number % 2 == 1)).save(path)
    return folder


def write_dicom(path: Path, pixels: npt.NDArray[np.uint16], **facts: Any) -> Path:
    """One uncompressed grey frame of a secondary capture, or of whatever the facts say."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = Dataset()
    item.file_meta = meta
    item.is_little_endian, item.is_implicit_VR = True, False
    item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    item.Rows, item.Columns = pixels.shape
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation, item.SamplesPerPixel = 15, 0, 1
    item.PhotometricInterpretation, item.Modality = "MONOCHROME2", "OT"
    item.StudyInstanceUID = item.SeriesInstanceUID = generate_uid()
    for name, value in facts.items():
        setattr(item, name, value)
    item.PixelData = pixels.astype("<u2").tobytes()
    item.preamble = b"\0" * 128
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(str(path), write_like_original=False)
    return path


def label_file(folder: Path, content: Any = None, name: str = "label.json") -> Path:
    """A label as a client sends it; ``content`` is JSON, text or bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
