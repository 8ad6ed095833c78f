"""Each way to build a network survives the recording: methods, importance, prefix tokens, families of backbones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from export_toys import drawn, file_answers, loud_run, model_answers, tiny_config

from monai_fpt.export import fpt_export

DINO_V3 = {"backbone": "vit_small_patch16_dinov3", "side_reduction": 4}
PATCH_14 = {"image_size": 56, "side_size": 28}
CASES: dict[str, dict[str, Any]] = {
    "FPT": {"method": "fpt"},
    "importance for the class token": {"importance": "class_token"},
    "the upper half of the blocks": {"blocks": None},
    "several members": {"members": 2, "linear_members": 1},
    "prefix tokens kept": {"prefix_tokens": "keep"},
    "prefix tokens dropped": {"prefix_tokens": "drop"},
    "no class token": {"backbone": "vit_base_patch16_siglip_224.v2_webli"},
    "registers": {"backbone": "vit_small_patch14_reg4_dinov2", "prefix_tokens": "keep", **PATCH_14},
    "rotary, EVA-02": {"backbone": "eva02_tiny_patch14_224", **PATCH_14},
    "rotary, DINOv3": DINO_V3,
    "relative positions as a mask": {"backbone": "beit_base_patch16_224"},
    "another position rule": {"positions": "timm", "image_size": 96},
    "made again in training": {"recompute": True},
}
RECORDED = (
    "several members",
    "FPT",
    "registers",
    "relative positions as a mask",
)  # ONNX is made of such a recording: the rest is shown there
LARGE = ("no class token", "relative positions as a mask")  # timm has no small ones


def slow_unless(quick: bool, name: str) -> Any:
    return name if quick else pytest.param(name, marks=pytest.mark.slow)


def check(format: str, changes: dict[str, Any], folder: Path) -> None:
    pytest.importorskip("onnxscript" if format == "onnx" else "torch", reason='needs pip install "monai-fpt[export]"')
    config = tiny_config(**changes)
    images = drawn(3, config.image_size)

    made = fpt_export(loud_run(folder, config), format)

    expected = model_answers(config, images)
    assert expected.std(dim=0).max() > 1e-3  # the answers are of the images
    assert torch.allclose(file_answers(made.path, format, images)["logits"], expected, rtol=0, atol=1e-4)
    assert made.agreement.num_images == 8


@pytest.mark.parametrize("name", [slow_unless(name not in LARGE, name) for name in CASES])
def test_it_is_traced(name: str, tmp_path: Path) -> None:
    check("torchscript", CASES[name], tmp_path)


@pytest.mark.parametrize("name", [slow_unless(name == RECORDED[0], name) for name in RECORDED])
def test_it_is_exported_by_torch(name: str, tmp_path: Path) -> None:
    check("torch_export", CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_is_translated_to_onnx(name: str, tmp_path: Path) -> None:
    check("onnx", CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_importance_in_pieces_does_not_fix_the_number_of_images(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_fpt.networks import importance

    recorded = []
    whole = importance._query_chunk

    def noted(q: torch.Tensor, k: torch.Tensor) -> int:
        if importance.is_recorded():
            recorded.append(whole(q, k) < q.shape[2])
        return whole(q, k)

    monkeypatch.setattr(importance, "_query_chunk", noted)

    check(format, {"image_size": 576}, tmp_path)  # 1,297 tokens

    assert recorded and all(recorded)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_real_backbone_at_full_size_is_exported(format: str, tmp_path: Path) -> None:
    folder = os.environ.get("MONAI_FPT_TEST_WEIGHTS")
    if not folder:
        pytest.skip(
            "needs pretrained weights: set MONAI_FPT_TEST_WEIGHTS to the folder with vit_tiny_patch16_224_*.safetensors"
        )
    weights = next(Path(folder).glob("vit_tiny_patch16_224_*.safetensors"))
    images = sorted((Path(os.environ.get("MONAI_FPT_TEST_DATA", folder)) / "derm_benign_malignant").rglob("*.jpg"))[:5]
    real = {
        "backbone_weights": str(weights),
        "image_size": 512,
        "side_size": 128,
        "num_tokens": 205,
        "blocks": None,
        "backbone_kwargs": {},
    }

    made = fpt_export(loud_run(tmp_path, tiny_config(**real)), format, images=images)

    assert made.agreement.num_images == 8 + len(images)
    assert made.agreement.num_undecided <= 3
    assert made.agreement.difference < 1e-4
    assert made.facts["backbone"]["file"] == weights.name
    assert str(weights.parent) not in str(made.facts)
