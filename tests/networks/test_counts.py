"""The parameter counts of the papers, on the meta device: no weights are made."""

from __future__ import annotations

import pytest
import timm
import torch

from monai_fpt.networks import FPTClassifier, FPTConfig

FROZEN_WITH_HEAD = 86_859_496
COUNTS = {
    "FPT+": ("fpt_plus", 5, 900_965, 1.0266),
    "FPT+, 2 classes": ("fpt_plus", 2, 900_674, 1.0263),
    "FPT": ("fpt", 5, 1_602_341, 1.8113),
    "FPT, 2 classes": ("fpt", 2, 1_602_050, 1.8110),
}


@pytest.mark.parametrize(("method", "classes", "learnable", "percent"), COUNTS.values(), ids=COUNTS.keys())
def test_learnable_parameters_are_those_of_the_paper(method: str, classes: int, learnable: int, percent: float) -> None:
    with torch.device("meta"):
        model = FPTClassifier(FPTConfig(method=method, num_classes=classes, backbone_weights=None))  # type: ignore[arg-type]

    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert counted == learnable
    assert model.num_parameters()[0] == learnable
    assert 100 * counted / (counted + FROZEN_WITH_HEAD) == pytest.approx(percent, abs=5e-5)


def test_the_frozen_vit_of_the_paper_counts_its_imagenet_head() -> None:
    with torch.device("meta"):
        whole = timm.create_model("vit_base_patch16_384")
        trunk = FPTClassifier(FPTConfig(backbone_weights=None, image_size=384)).backbone

    assert sum(p.numel() for p in whole.parameters()) == FROZEN_WITH_HEAD + 0
    assert sum(p.numel() for p in trunk.parameters()) == 86_090_496


def test_the_parts_of_fpt_plus_add_up_as_in_the_specification() -> None:
    with torch.device("meta"):
        model = FPTClassifier(FPTConfig(num_classes=5, backbone_weights=None))

    def count(*parts: str) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith(parts))

    assert count("fusion.prompts") == 6 * 16 * 768 == 73_728
    assert count("fusion.norm") == 1_536
    assert count("fusion.project") == 73_824
    assert count("side.patch_embed") == 73_824
    assert count("side.cls_token") == 96
    assert count("side.pos_embed") == 6_240
    assert count("side.blocks") == 671_040
    assert count("side.norm") == 192
    assert count("side.head") == 485


def test_an_adapter_of_vit_base_takes_about_3_6_megabytes() -> None:
    with torch.device("meta"):
        state = FPTClassifier(FPTConfig(num_classes=5, backbone_weights=None)).state_dict()

    assert sum(tensor.nbytes for tensor in state.values()) == 900_965 * 4 + 128


def test_the_paper_s_input_keeps_205_of_1025_tokens_in_6_and_12_blocks() -> None:
    with torch.device("meta"):
        shapes = {
            method: FPTClassifier(FPTConfig(method=method, backbone_weights=None)).backbone.feature_shape  # type: ignore[arg-type]
            for method in ("fpt_plus", "fpt")
        }

    assert shapes == {"fpt_plus": (6, 2, 12, 205, 64), "fpt": (12, 2, 12, 205, 64)}
