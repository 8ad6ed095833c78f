"""What would make a table wrong in silence is refused in one sentence."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tuning_toys import ARMS, NAME, SIZE, TINY, drawn, toy_arm_data, toy_data

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.compare.tuning import FPTBitFitArm, FPTLastBlockArm, FPTLoraArm, FPTPeftArm
from monai_fpt.networks import FrozenViT

BEIT = {"depth": 2, "embed_dim": 64, "num_heads": 2}


def test_a_loss_that_is_no_number_ends_the_training(arm_data: FPTArmData) -> None:
    with pytest.raises(
        RuntimeError,
        match=r"the training loss is (nan|inf) in epoch \d at a learning rate of .*; give lower learning_rates",
    ):
        dataclasses.replace(ARMS["full_fine_tuning"], learning_rates=(1e20,), warmup=0.0, max_epochs=3)(arm_data, 0)


def test_other_weights_than_the_frozen_backbone_s_are_refused(arm_data: FPTArmData) -> None:
    state = {name: tensor + 1e-3 for name, tensor in arm_data.backbone.vit.state_dict().items()}
    state = FrozenViT(NAME, None, image_size=224, blocks=[1], num_tokens=1, create_kwargs=TINY).vit.state_dict() | {
        "norm.weight": state["norm.weight"]
    }
    other = FrozenViT(NAME, None, image_size=SIZE, num_tokens=2, create_kwargs=TINY, state=state)

    with pytest.raises(ValueError, match="are not the weights of the frozen backbone"):
        ARMS["lora"](dataclasses.replace(arm_data, backbone=other), 0)


def test_an_adapter_on_a_layer_that_the_backbone_never_calls_is_refused(tmp_path: Path) -> None:
    arm_data = toy_arm_data(tmp_path, name="beit_base_patch16_224", tiny=BEIT)

    with pytest.raises(ValueError, match=r'4 of 6 tensors that should learn take no part .*"trunk.*qkv.lora_A'):
        FPTLoraArm(max_epochs=1)(arm_data, 0)
    result = FPTLoraArm(max_epochs=1, target_modules=("attn.proj",))(arm_data, 0)

    assert result.learnable_parameters == 2 * 8 * (64 + 64) + 2 * 64 + 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LORA", "target_modules": ["query"]}, "peft cannot put .*query.* on this backbone"),
        ({"peft_type": "LORA", "rank": 8, "target_modules": ["qkv"]}, "TypeError: .*rank"),
        ({"peft_type": "NO_SUCH"}, "peft cannot put .*NO_SUCH"),
        ({"target_modules": ["qkv"]}, "peft cannot put .*correct peft_type"),
        ({"peft_type": "ADALORA", "target_modules": ["qkv"]}, "must be told of every training step.*use 'LORA'"),
    ],
    ids=["no such layer", "no such argument", "no such tuner", "no tuner", "adalora"],
)
def test_a_configuration_that_peft_cannot_use_is_refused(
    config: dict[str, Any], message: str, arm_data: FPTArmData
) -> None:
    with pytest.raises(ValueError, match=message):
        FPTPeftArm(config).build(arm_data, 0)


def test_without_peft_its_arms_say_what_to_install_and_the_others_run(
    arm_data: FPTArmData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ImportError, match=r'install them with pip install "monai-fpt\[compare\]"'):
        ARMS["dora"](arm_data, 0)
    assert ARMS["bitfit"](arm_data, 0).learnable_parameters


@pytest.mark.parametrize(
    "wrong",
    [
        lambda item: drawn(item) * 255,
        lambda item: (drawn(item) * 255).to(torch.uint8),
        lambda item: drawn(item)[:1],
        lambda item: drawn(item) * float("nan"),
    ],
    ids=["0 to 255", "bytes", "one channel", "nan"],
)
def test_images_on_another_scale_are_refused(wrong: Any, arm_data: FPTArmData) -> None:
    with pytest.raises(ValueError, match=r"image '0.png' is .*expected floats \(3, H, W\) in \[0, 1\]"):
        ARMS["bitfit"](dataclasses.replace(arm_data, load=wrong), 0)
    assert not list(arm_data.work_dir.iterdir())


def test_learning_rates_cannot_be_chosen_without_validation_images(tmp_path: Path) -> None:
    data = toy_data({"training": 6, "validation": 0, "test": 4})

    with pytest.raises(ValueError, match="several learning_rates need validation images"):
        FPTBitFitArm(learning_rates=(1e-3, 1e-4))(toy_arm_data(tmp_path, data), 0)


def test_no_training_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no training images"):
        ARMS["bitfit"](toy_arm_data(tmp_path, toy_data({"training": 0, "validation": 4, "test": 4})), 0)


def test_a_backbone_without_pooling_is_refused(tmp_path: Path) -> None:
    bare = TINY | {"global_pool": ""}

    with pytest.raises(ValueError, match="has no pooling of its own"):
        ARMS["bitfit"](toy_arm_data(tmp_path, tiny=bare), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FPTLoraArm(learning_rates=()), "learning_rates"),
        (lambda: FPTLoraArm(learning_rates=(0.0,)), "learning_rates"),
        (lambda: FPTLoraArm(max_epochs=0), "max_epochs=0"),
        (lambda: FPTLoraArm(image_size=-16), "image_size=-16"),
        (lambda: FPTLoraArm(batch_size=True), "batch_size=True"),
        (lambda: FPTLoraArm(warmup=1.5), "warmup=1.5"),
        (lambda: FPTLoraArm(layer_decay=0.0), "layer_decay=0.0"),
        (lambda: FPTLoraArm(weight_decay=-1), "weight_decay=-1"),
        (lambda: FPTLastBlockArm(num_blocks=0), "num_blocks=0"),
    ],
    ids=["no rate", "rate 0", "no epoch", "size", "batch", "warm-up", "layer decay", "weight decay", "no block"],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_more_blocks_than_the_backbone_has_are_refused(arm_data: FPTArmData) -> None:
    with pytest.raises(ValueError, match="num_blocks=3 is more than the backbone's 2"):
        FPTLastBlockArm(num_blocks=3).build(arm_data, 0)
