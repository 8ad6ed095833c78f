"""The trunk is the frozen backbone's model, whole; adapters start as nothing; images are decoded once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tuning_toys import ARMS, NAME, SIZE, TINY, drawn, toy_arm_data

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.compare.tuning import FPTDoraArm, FPTLoraArm, FPTPeftArm
from monai_fpt.compare.tuning.fitting import warmup_cosine
from monai_fpt.compare.tuning.images import FPTTuningImages
from monai_fpt.compare.tuning.trunk import fresh_trunk
from monai_fpt.transforms import RandFPTSideAugment

IMAGE = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_the_trunk_computes_what_timm_s_model_computes(arm_data: FPTArmData) -> None:
    trunk = fresh_trunk(arm_data, SIZE)
    plain = timm.create_model(NAME, num_classes=0, img_size=SIZE, **TINY).eval()
    plain.load_state_dict(trunk.state_dict())

    with torch.no_grad():
        assert torch.allclose(trunk(IMAGE), plain(IMAGE), atol=1e-6)


def test_positions_epsilon_and_weights_are_the_frozen_backbone_s(tmp_path: Path) -> None:
    plain = toy_arm_data(tmp_path)
    config = dataclasses.replace(plain.network_config, norm_eps=1e-12)

    trunk = fresh_trunk(dataclasses.replace(plain, network_config=config), SIZE)

    assert {m.eps for m in trunk.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-12}
    frozen = plain.backbone.vit.state_dict()
    assert set(frozen) <= set(trunk.state_dict())
    assert all(torch.equal(trunk.state_dict()[name], tensor) for name, tensor in frozen.items())


def test_no_block_is_cut_off_behind_the_last_tapped_one(arm_data: FPTArmData) -> None:
    assert len(fresh_trunk(arm_data, SIZE).blocks) == arm_data.backbone.depth == 2


@pytest.mark.parametrize("arm", [FPTLoraArm(bf16=False), FPTDoraArm(bf16=False)], ids=["lora", "dora"])
def test_an_adapter_starts_as_nothing_merged_or_not(arm: FPTLoraArm, arm_data: FPTArmData) -> None:
    trunk = fresh_trunk(arm_data, SIZE).eval()
    adapted: Any = arm.build(arm_data, 5).eval().trunk

    with torch.no_grad():
        expected, found = trunk(IMAGE), adapted(IMAGE)
        merged = adapted.merge_and_unload()(IMAGE)

    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(merged, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ({"peft_type": "IA3", "target_modules": ["qkv", "fc2"], "feedforward_modules": ["fc2"]}, 2 * (3 * 64 + 4 * 64)),
        ({"peft_type": "LN_TUNING", "target_modules": ["norm1", "norm2"]}, 4 * 2 * 64),
        ({"peft_type": "LORA", "r": 4, "use_rslora": True, "target_modules": ["fc1"]}, 2 * 4 * (64 + 4 * 64)),
    ],
    ids=["ia3", "norms", "rslora"],
)
def test_any_tuner_of_peft_is_an_arm(config: dict[str, Any], parameters: int, arm_data: FPTArmData) -> None:
    result = FPTPeftArm(config, max_epochs=2, learning_rates=(5e-3,))(arm_data, 0)

    assert result.learnable_parameters == parameters + 2 * 64 + 2
    assert result.chosen["validation_auc"] == 1.0


def test_logits_have_all_digits_where_the_trunk_computes_in_bfloat16(arm_data: FPTArmData) -> None:
    logits = ARMS["full_fine_tuning"](arm_data, 0).logits["test"]

    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_images_are_decoded_once_for_all_arms_of_a_folder(arm_data: FPTArmData) -> None:
    read: Counter[str] = Counter()

    def counting(item: Any) -> torch.Tensor:
        read[item["key"]] += 1
        return drawn(item)

    counted = dataclasses.replace(arm_data, load=counting)
    first, second = ARMS["lora"](counted, 0), ARMS["lora"](counted, 0)

    assert set(read.values()) == {1}
    assert len(read) == 18 + 8 + 6
    assert torch.equal(first.logits["test"], second.logits["test"])


def test_another_data_list_in_the_same_folder_has_its_own_images(arm_data: FPTArmData) -> None:
    FPTTuningImages(arm_data, "test", SIZE)
    turned = dataclasses.replace(arm_data.data, test=arm_data.data.test[3:])

    batch = FPTTuningImages(dataclasses.replace(arm_data, data=turned), "test", SIZE).batch([0])

    assert torch.equal(batch, FPTTuningImages(arm_data, "test", SIZE).batch([3]))


def test_images_are_the_resized_ones_to_the_nearest_byte(arm_data: FPTArmData) -> None:
    images = FPTTuningImages(
        dataclasses.replace(arm_data, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0)), "validation", SIZE
    )
    item = arm_data.data.validation[2]
    plain = torch.nn.functional.interpolate(drawn(item)[None], (SIZE, SIZE), mode="bilinear", antialias=True)[0]

    found = images.batch([2])[0] * torch.tensor([0.5, 0.25, 1.0]).view(3, 1, 1) + torch.tensor([0.1, 0.2, 0.3]).view(
        3, 1, 1
    )

    assert (found - plain).abs().max() <= 0.5 / 255 + 1e-5


def test_training_images_are_augmented_and_others_are_not(arm_data: FPTArmData) -> None:
    training = FPTTuningImages(arm_data, "training", SIZE)
    augment = RandFPTSideAugment(SIZE)
    augment.set_random_state(seed=0)

    one, two = (training.batch([0], augment) for _ in range(2))

    assert one.shape == (1, 3, SIZE, SIZE)
    assert not torch.equal(one, two)
    assert torch.equal(training.batch([0]), training.batch([0]))


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    factor = warmup_cosine(100, 0.1)
    values = [factor(step) for step in range(101)]

    assert values.index(max(values)) == 10
    assert max(values) == 1
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[55] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0, abs=1e-12)
