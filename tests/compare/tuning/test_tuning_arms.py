"""Each tuning arm learns, changes what it says it changes and nothing else, and is the same every time."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tuning_toys import ARMS, DEPTH, PATCH, SIZE, WIDTH, drawn, toy_arm_data, toy_data

from monai_fpt.compare.arm import FPTArmData
from monai_fpt.compare.scoring import validation_auc
from monai_fpt.compare.tuning import TUNING_ARMS, FPTFullFineTuningArm, FPTLastBlockArm, FPTTuningArm
from monai_fpt.compare.tuning.fitting import FPTFitting
from monai_fpt.compare.tuning.images import FPTTuningImages
from monai_fpt.networks._weights import fingerprint

C, BLOCK, HEAD = WIDTH, 12 * WIDTH**2 + 13 * WIDTH, 2 * WIDTH + 2
PARAMETERS = {  # by hand: what each method's authors count
    "lora": DEPTH * 8 * (C + 3 * C) + HEAD,
    "dora": DEPTH * (8 * (C + 3 * C) + 3 * C) + HEAD,
    "bitfit": DEPTH * (3 * C + C + 4 * C + C + 2 * C) + C + C + HEAD,
    "last_block": BLOCK + 2 * C + HEAD,
    "full_fine_tuning": (3 * PATCH**2 + 1) * C + C + ((SIZE // PATCH) ** 2 + 1) * C + DEPTH * BLOCK + 2 * C + HEAD,
}

every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)


def fitting_of(arm: FPTTuningArm, arm_data: FPTArmData, model: Any) -> FPTFitting:
    images = {name: FPTTuningImages(arm_data, name, SIZE) for name in ("training", "validation", "test")}
    optimizer = arm.optimize(model, arm.learning_rates[0])
    options = {"max_epochs": 2, "batch_size": 8, "warmup": 0.0, "clip_norm": 1.0, "seed": 0}
    return FPTFitting(model, optimizer, arm_data, images, **options)  # type: ignore[arg-type]


def test_the_table_has_the_arms_by_their_names_with_their_defaults() -> None:
    assert {name: type(arm) for name, arm in TUNING_ARMS.items()} == {name: type(arm) for name, arm in ARMS.items()}
    assert all(dataclasses.replace(TUNING_ARMS[name], max_epochs=2) == arm for name, arm in ARMS.items())


@every_arm
def test_an_arm_learns_a_separable_task(arm: FPTTuningArm, arm_data: FPTArmData) -> None:
    truth = {
        name: torch.tensor([int(item["drawn_as"]) for item in arm_data.data.section(name)])
        for name in ("validation", "test")
    }
    before = fitting_of(arm, arm_data, arm.build(arm_data, 0)).read("test")

    result = arm(arm_data, 0)

    assert before is not None
    assert validation_auc(before, truth["test"], "multiclass") == 0.5
    assert {name: validation_auc(result.logits[name], truth[name], "multiclass") for name in truth} == {
        "validation": 1.0,
        "test": 1.0,
    }
    assert result.chosen == {
        "learning_rate": arm.learning_rates[0],
        "epoch": result.best_epoch,
        "validation_auc": 1.0,
        "image_size": SIZE,
    }


@pytest.mark.parametrize("name", ARMS)
def test_learnable_parameters_are_those_of_the_method(name: str, arm_data: FPTArmData) -> None:
    model = ARMS[name].build(arm_data, 0)

    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == PARAMETERS[name]
    assert dataclasses.replace(ARMS[name], max_epochs=1)(arm_data, 0).learnable_parameters == PARAMETERS[name]


@every_arm
def test_what_learns_changes_and_what_is_frozen_stays_bit_by_bit(arm: FPTTuningArm, arm_data: FPTArmData) -> None:
    frozen_before = fingerprint(arm_data.backbone.vit)
    model = arm.build(arm_data, 0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fitting = fitting_of(arm, arm_data, model)

    for epoch in (1, 2):
        fitting._train_epoch(epoch)

    unchanged = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert unchanged == {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fingerprint(arm_data.backbone.vit) == frozen_before


@every_arm
def test_the_same_seed_gives_the_same_logits_and_leaves_the_caller_s_random_numbers_alone(
    arm: FPTTuningArm, arm_data: FPTArmData
) -> None:
    caller = torch.get_rng_state()

    one, two, other = arm(arm_data, 3), arm(arm_data, 3), arm(arm_data, 4)

    assert torch.equal(one.logits["test"], two.logits["test"])
    assert torch.equal(one.logits["validation"], two.logits["validation"])
    assert one.history == two.history
    assert not torch.equal(one.logits["test"], other.logits["test"])
    assert torch.equal(torch.get_rng_state(), caller)


@pytest.mark.parametrize("name", ["lora", "bitfit", "full_fine_tuning"])
def test_checkpointing_saves_bytes_and_changes_no_bit(name: str, arm_data: FPTArmData) -> None:
    kept = dataclasses.replace(ARMS[name], checkpointing=False)(arm_data, 0)
    again = dataclasses.replace(ARMS[name], checkpointing=True)(arm_data, 0)

    assert kept.training_bytes is not None
    assert again.training_bytes is not None
    assert again.training_bytes < 0.9 * kept.training_bytes
    assert torch.equal(again.logits["test"], kept.logits["test"])


def test_the_bytes_of_full_fine_tuning_hold_weights_gradients_and_two_moments(arm_data: FPTArmData) -> None:
    result = ARMS["full_fine_tuning"](arm_data, 0)
    batch = 16 * (3 * SIZE**2 * 4 + 8)

    assert result.training_bytes is not None
    assert result.training_bytes > 4 * 4 * PARAMETERS["full_fine_tuning"] + batch


def test_counting_bytes_leaves_nothing_in_memory(arm_data: FPTArmData) -> None:
    arm = ARMS["bitfit"]
    model = arm.build(arm_data, 0)
    weight = weakref.ref(model.trunk.blocks[0].attn.qkv.weight)
    fitting_of(arm, arm_data, model).training_bytes()

    del model
    gc.collect()

    assert weight() is None


def test_the_last_block_keeps_fewer_bytes_than_all_blocks(arm_data: FPTArmData) -> None:
    one = FPTLastBlockArm(max_epochs=1)(arm_data, 0)
    both = FPTLastBlockArm(max_epochs=1, num_blocks=2)(arm_data, 0)

    assert one.training_bytes is not None
    assert both.training_bytes is not None
    assert one.training_bytes < both.training_bytes
    assert both.learnable_parameters - one.learnable_parameters == BLOCK


def test_layers_learn_slower_the_deeper_they_lie(arm_data: FPTArmData) -> None:
    arm = FPTFullFineTuningArm(layer_decay=0.5)
    model = arm.build(arm_data, 0)
    rates = {p: group["lr"] for group in arm.optimize(model, 1.0).param_groups for p in group["params"]}

    names = {name: rates[p] for name, p in model.named_parameters()}

    assert names["head.weight"] == 1
    assert {names["trunk.norm.weight"], names["trunk.blocks.1.mlp.fc1.weight"]} == {0.5}
    assert names["trunk.blocks.0.attn.qkv.weight"] == 0.25
    assert {names["trunk.pos_embed"], names["trunk.patch_embed.proj.weight"]} == {0.125}


@every_arm
def test_biases_norms_tokens_and_positions_do_not_decay(arm: FPTTuningArm, arm_data: FPTArmData) -> None:
    arm = dataclasses.replace(arm, weight_decay=0.3)
    model = arm.build(arm_data, 0)
    decay = {p: group["weight_decay"] for group in arm.optimize(model, 1.0).param_groups for p in group["params"]}

    found = {name: decay[p] for name, p in model.named_parameters() if p.requires_grad}

    plain = {name for name, p in model.named_parameters() if p.ndim < 2 or "pos_embed" in name or "cls_token" in name}
    assert found == {name: 0.0 if name in plain else 0.3 for name in found}


def test_validation_chooses_among_learning_rates(arm_data: FPTArmData) -> None:
    arm = FPTFullFineTuningArm(max_epochs=1, learning_rates=(100.0, 1e-3))
    wild, tame = (dataclasses.replace(arm, learning_rates=(rate,))(arm_data, 0) for rate in arm.learning_rates)

    result = arm(arm_data, 0)

    assert wild.history[0]["val_auc"] < tame.history[0]["val_auc"]
    assert result.chosen["learning_rate"] == 1e-3
    assert torch.equal(result.logits["test"], tame.logits["test"])


def test_the_test_images_have_no_say(arm_data: FPTArmData) -> None:
    pale = dataclasses.replace(arm_data, load=lambda item: drawn(item) * (0.0 if item in arm_data.data.test else 1.0))
    other_dir = arm_data.work_dir / "other"
    other_dir.mkdir()

    one, other = ARMS["lora"](arm_data, 0), ARMS["lora"](dataclasses.replace(pale, work_dir=other_dir), 0)

    assert torch.equal(one.logits["validation"], other.logits["validation"])
    assert (one.chosen, one.history) == (other.chosen, other.history)
    assert not torch.equal(one.logits["test"], other.logits["test"])


def test_the_first_of_equally_good_epochs_is_kept(arm_data: FPTArmData) -> None:
    result = FPTFullFineTuningArm(max_epochs=4)(arm_data, 0)

    aucs = [epoch["val_auc"] for epoch in result.history]
    assert result.best_epoch == aucs.index(max(aucs)) + 1


def test_without_validation_images_the_last_epoch_is_taken(tmp_path: Path) -> None:
    data = toy_data({"training": 6, "validation": 0, "test": 4})

    result = ARMS["bitfit"](toy_arm_data(tmp_path, data), 0)

    assert set(result.logits) == {"test"}
    assert result.best_epoch == 2
    assert math.isnan(result.history[-1]["val_auc"])


def test_several_findings_are_learned_too(tmp_path: Path) -> None:
    data = toy_data()
    sections = {
        name: [item | {"label": [float(item["label"]), 1.0 - item["label"]]} for item in data.section(name)]
        for name in ("training", "validation", "test")
    }
    findings = dataclasses.replace(data, task="multilabel", **sections)

    result = ARMS["last_block"](toy_arm_data(tmp_path, findings, task="multilabel", class_weights="balanced"), 0)

    assert result.chosen["validation_auc"] == 1.0
    assert result.logits["test"].shape == (6, 2)


def test_images_can_be_read_smaller_than_the_recipe_does(arm_data: FPTArmData) -> None:
    small, large = (
        dataclasses.replace(ARMS["lora"], image_size=size, max_epochs=1)(arm_data, 0) for size in (16, None)
    )

    assert (small.chosen["image_size"], large.chosen["image_size"]) == (16, SIZE)
    assert small.training_bytes is not None
    assert large.training_bytes is not None
    assert small.training_bytes < large.training_bytes


def test_settings_are_json() -> None:
    for arm in TUNING_ARMS.values():
        assert json.loads(json.dumps(dataclasses.asdict(arm)))["max_epochs"] == 20
