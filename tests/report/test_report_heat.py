"""Heat maps of a report lie over the image as it was prepared, and come from the cache."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_fpt.features import FeatureDataset, FeatureSpec, FeatureStore, extract
from monai_fpt.networks import FPTClassifier, FPTConfig
from monai_fpt.report import fpt_heat_maps


def load(item: dict[str, Any]) -> dict[str, Any]:
    pixels = torch.from_numpy(np.asarray(Image.open(item["image"]), np.float32) / 255)
    return item | {"image": pixels.permute(2, 0, 1)}


def as_square(item: dict[str, Any]) -> torch.Tensor:
    return torch.nn.functional.interpolate(load(item)["image"][None], size=(64, 64))[0]


def side_image(item: dict[str, Any]) -> dict[str, Any]:
    return item | {"image": torch.nn.functional.interpolate(item["image"][None] / 255, size=(16, 16))[0]}


@pytest.fixture(params=["float32", "int8"])
def heat_maps(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    rows, columns = np.mgrid[0:90, 0:120]
    pixels = np.stack([rows * 2, columns * 2, rows + columns], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = FPTConfig(
        backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, side_size=16, num_tokens=4,
        backbone_kwargs={"depth": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    network = FPTClassifier(config)
    torch.nn.init.normal_(network.side.head.weight)
    items = [{"key": "a.png", "image": str(tmp_path / "a.png"), "label": 0}]
    store = FeatureStore(tmp_path / "cache", FeatureSpec.from_network(network, dtype=request.param))
    extract(items, store, network.backbone, as_square, progress=False)
    return fpt_heat_maps(FeatureDataset(items, store, side_image), network, load, side=60)


def test_a_heat_map_is_the_small_image_with_colours_over_it(heat_maps: Any, tmp_path: Path) -> None:
    content = heat_maps("a.png")
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)
    plain = np.asarray(Image.open(tmp_path / "a.png").resize((60, 45), Image.Resampling.BILINEAR), np.float32)
    moved = np.abs(shown - plain).mean(axis=2)

    assert shown.shape == (45, 60, 3)
    assert moved.max() > 60  # the strongest token is coloured ...
    assert np.median(moved) < 15  # ... and most of the image is as it was


def test_an_image_that_is_not_in_the_data_set_has_none(heat_maps: Any) -> None:
    assert heat_maps("other.png") is None
