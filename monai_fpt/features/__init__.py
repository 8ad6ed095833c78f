"""Compute once, read many times: the cache of what the frozen backbone saw. Knows networks, numpy and torch only."""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.features.card import FPTModelCard
from monai_fpt.features.codec import StoredImage, quantize
from monai_fpt.features.dataset import FeatureDataset, MissingFeaturesError
from monai_fpt.features.extract import DiskSpaceError, ExtractionReport, UnreadableImagesError, extract
from monai_fpt.features.prepare import ensure_features
from monai_fpt.features.resident import FPTDeviceMemoryError, FPTResidentFeatures
from monai_fpt.features.spec import FeatureSpec, FeatureSpecMismatchError, StoredTokens, random_features
from monai_fpt.features.store import CorruptCacheError, FeatureEntry, FeatureStore, FeatureWriter

__all__ = [
    "CorruptCacheError",
    "DiskSpaceError",
    "ExtractionReport",
    "FPTDeviceMemoryError",
    "FPTModelCard",
    "FPTResidentFeatures",
    "FeatureDataset",
    "FeatureEntry",
    "FeatureSpec",
    "FeatureSpecMismatchError",
    "FeatureStore",
    "FeatureWriter",
    "MissingFeaturesError",
    "StoredImage",
    "StoredTokens",
    "UnreadableImagesError",
    "ensure_features",
    "extract",
    "quantize",
    "random_features",
]
