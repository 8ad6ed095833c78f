"""Bytes, indices, intervals, corrected p-values, dealt labels: numbers from elsewhere."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from compare_toys import CONFIG, run_of
from sklearn.metrics import roc_auc_score
from torch import nn

from monai_fpt.compare import shuffled_labels
from monai_fpt.compare.ablation import ablation_arms, ablation_names
from monai_fpt.compare.differences import differences_to, drawn_auc, holm, needed_resamples
from monai_fpt.compare.indices import performance_index
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.data import FPTDataList
from monai_fpt.networks import FPTClassifier
from monai_fpt.networks.counting import extrapolated, kept_bytes, training_bytes
from monai_fpt.networks.fpt import frozen_backbone

PAPER = [  # the paper's summary table: score, learnable %, memory MB, PPE, PME (SPEC section 7, shared research)
    ("full fine-tuning", 88.82, 100.0, 23128, 65.73, 65.73),
    ("LoRA", 85.94, 0.68, 20970, 85.69, 64.93),
    ("FPT+", 87.12, 1.03, 736, 86.73, 85.94),
]


@pytest.mark.parametrize(
    ("method", "score", "percent", "megabytes", "ppe", "pme"), PAPER, ids=[row[0] for row in PAPER]
)
def test_indices_are_the_papers(
    method: str, score: float, percent: float, megabytes: float, ppe: float, pme: float
) -> None:
    assert performance_index(score, percent / 100) == pytest.approx(ppe, abs=0.02)
    assert performance_index(score, megabytes / 23128) == pytest.approx(pme, abs=0.02)


def test_a_step_of_one_layer_has_the_bytes_that_one_counts_by_hand() -> None:
    layer = nn.Linear(10, 4)
    image, labels = torch.randn(8, 10), torch.zeros(8, dtype=torch.int64)

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(layer(image), labels)

    # kept: log-probabilities of 8 x 4 and the total weight, one number
    assert kept_bytes(loss, layer, [image, labels]) == 8 * 4 * 4 + 4
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    weights = 4 * (10 * 4 + 4)
    total = training_bytes(layer, loss, [image, labels], optimizer, resident=True)
    assert total == 8 * 4 * 4 + 4 + 3 * weights + image.nbytes + labels.nbytes


def test_frozen_weights_count_where_they_must_be_in_memory() -> None:
    net = nn.Sequential(nn.Linear(6, 6).requires_grad_(False), nn.Linear(6, 2))
    image = torch.randn(3, 6)

    def bytes_of(resident: bool) -> int:
        optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
        return training_bytes(net, lambda: net(image).sum(), [image], optimizer, resident=resident)

    assert bytes_of(True) - bytes_of(False) == 4 * (6 * 6 + 6)


def test_bytes_of_a_large_batch_follow_from_two_small_ones() -> None:
    layer = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 2))

    def kept(batch: int) -> int:
        image = torch.randn(batch, 5)
        return kept_bytes(lambda: layer(image).sum(), layer, [image])

    assert extrapolated(kept(1), kept(2), 16) == kept(16)


@pytest.fixture
def judged() -> tuple[list[int], list[str], dict[str, list[FPTArmRun]]]:
    random = np.random.default_rng(2)
    labels = [n // 2 % 2 for n in range(60)]
    groups = [str(n // 2) for n in range(60)]

    def scores(signal: float) -> list[float]:
        return list(random.normal(size=60) + signal * np.array(labels))

    runs = {
        "good": [run_of(seed, scores(2.0), labels, groups) for seed in (0, 1, 2)],
        "bad": [run_of(seed, scores(0.2), labels, groups) for seed in (0, 1)],
        "fixed": [run_of(0, scores(1.0), labels, groups)],
    }
    return labels, groups, runs


def test_auc_is_the_mean_over_seeds_and_not_that_of_mean_predictions(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    labels, _, runs = judged
    drawn, stratified = drawn_auc(runs, aggregate=None, bootstrap=100, seed=0)
    for arm, own in runs.items():
        expected = np.mean([roc_auc_score(labels, run.predictions["test"].logits[:, 1]) for run in own])
        assert drawn[arm][0] == pytest.approx(expected)
        assert len(drawn[arm]) == 101
    assert not stratified


def test_the_interval_of_one_seed_is_that_of_resampled_patients(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    """Against a plain loop that draws patients with both their images."""
    labels, groups, runs = judged
    drawn, _ = drawn_auc({"fixed": runs["fixed"]}, aggregate=None, bootstrap=2000, seed=1)
    random = np.random.default_rng(9)
    values = runs["fixed"][0].predictions["test"].logits[:, 1]
    names = sorted(set(groups), key=int)
    plain = []
    for _ in range(400):
        rows = [row for name in random.choice(names, len(names)) for row in (2 * int(name), 2 * int(name) + 1)]
        plain.append(roc_auc_score(np.array(labels)[rows], values[rows]))
    assert np.std(drawn["fixed"][1:]) == pytest.approx(np.std(plain), rel=0.15)
    assert np.quantile(drawn["fixed"][1:], 0.025) == pytest.approx(np.quantile(plain, 0.025), abs=0.03)


def test_seeds_that_differ_widen_the_interval(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    """The variance between resamples is that over patients plus the squared standard error of the seeds' mean."""
    labels, groups, _ = judged
    random = np.random.default_rng(4)
    seeds = [
        run_of(s, list(random.normal(size=60) + k * np.array(labels)), labels, groups)
        for s, k in enumerate((0, 1, 2, 3))
    ]
    drawn, _ = drawn_auc({"arm": seeds}, aggregate=None, bootstrap=4000, seed=0)
    alone = [drawn_auc({"arm": [one]}, aggregate=None, bootstrap=4000, seed=0)[0]["arm"] for one in seeds]
    over_patients = np.mean(alone, axis=0)[1:].var()
    between = np.array([one[0] for one in alone]).var(ddof=1) / 4
    assert drawn["arm"][1:].var() == pytest.approx(over_patients + between, rel=0.15)


def test_a_difference_is_paired_and_its_verdict_needs_the_corrected_p(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    _, _, runs = judged
    drawn, _ = drawn_auc({**runs, "again": runs["good"]}, aggregate=None, bootstrap=2000, seed=0)
    found = differences_to(drawn, "good", 0.95)
    assert found["bad"].verdict == "worse" and found["bad"].score.high < 0
    assert found["again"].verdict == "no difference shown" and found["again"].score.value == 0
    assert all(one.corrected >= one.p_value for one in found.values())
    same, _ = drawn_auc({"one": runs["fixed"], "two": runs["fixed"]}, aggregate=None, bootstrap=200, seed=0)
    assert differences_to(same, "one", 0.95)["two"].score.value == 0


def test_an_interval_depends_neither_on_the_other_arms_nor_on_their_order(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    _, _, runs = judged
    orders = [("good", "bad", "fixed"), ("bad", "good"), ("good",), ("fixed", "bad", "good")]
    drawn = [drawn_auc({n: runs[n] for n in names}, aggregate=None, bootstrap=100, seed=0)[0] for names in orders]
    assert all(np.array_equal(one["good"], drawn[0]["good"]) for one in drawn)
    assert np.array_equal(drawn[0]["bad"], drawn[3]["bad"])


def test_as_many_resamples_are_asked_for_as_the_smallest_corrected_p_needs() -> None:
    for comparisons in (1, 3, 12):
        needed = needed_resamples(comparisons, 0.95)
        verdicts = []
        for count in (needed - 1, needed):
            drawn = {"reference": np.zeros(count + 1)} | {f"arm_{n}": np.ones(count + 1) for n in range(comparisons)}
            verdicts.append({one.verdict for one in differences_to(drawn, "reference", 0.95).values()})
        assert verdicts == [{"no difference shown"}, {"better"}]


def test_arms_that_judged_other_images_are_not_compared(
    judged: tuple[list[int], list[str], dict[str, list[FPTArmRun]]],
) -> None:
    labels, groups, runs = judged
    flipped = [1 - label for label in labels]
    with pytest.raises(ValueError, match="other test images"):
        drawn_auc(
            {"a": runs["fixed"], "b": [run_of(0, [0.0] * 60, flipped, groups)]}, aggregate=None, bootstrap=100, seed=0
        )


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, math.nan, 0.9])[0] == 1.0 and math.isnan(holm([0.5, math.nan])[1])


def test_dealt_labels_stay_with_patients_and_spare_the_test() -> None:
    def section(name: str, patients: int) -> list[dict[str, object]]:
        return [
            {"key": f"{name}{p}_{n}", "image": "", "label": p % 3 % 2, "group": f"{name}{p}"}
            for p in range(patients)
            for n in range(2)
        ]

    data = FPTDataList(("a", "b"), section("t", 30), section("v", 12), section("e", 8))
    dealt = shuffled_labels(data, 0)
    assert dealt.test == data.test
    for name in ("training", "validation"):
        assert dealt.class_counts(name) == data.class_counts(name)
        assert [item["key"] for item in dealt.section(name)] == [item["key"] for item in data.section(name)]
        by_patient: dict[object, set[object]] = {}
        for item in dealt.section(name):
            by_patient.setdefault(item["group"], set()).add(item["label"])
        assert all(len(labels) == 1 for labels in by_patient.values())
    changed = [a["label"] != b["label"] for a, b in zip(data.training, dealt.training, strict=True)]
    assert 0.2 < np.mean(changed) < 0.8
    assert shuffled_labels(data, 1).training != dealt.training == shuffled_labels(data, 0).training


def test_an_ablation_that_a_backbone_cannot_do_is_left_out_with_its_reason() -> None:
    arms, skipped = ablation_arms(CONFIG, frozen_backbone(CONFIG), "int8")
    assert set(arms) | set(skipped) == set(ablation_names()) and not set(arms) & set(skipped)
    assert skipped["feature_dtype_int8"] == "the recipe does this anyway"
    assert skipped["num_tokens_64"] == "the backbone has only 17 tokens"
    assert "token_ratio=0.05 keeps none of 17 tokens" in skipped["token_ratio_0.05"]
    assert arms["blocks_all"].overrides == {"network_config#blocks": [0, 1]}
    assert all(arm.kind == "adapter" and arm.tokens == "none" for arm in arms.values())


def test_a_share_of_the_tokens_is_another_arm_where_the_recipe_says_how_many() -> None:
    """The number would win over the share, and the arm be a copy of fpt_plus."""
    of_number = dataclasses.replace(CONFIG, num_tokens=4)
    arms, skipped = ablation_arms(of_number, frozen_backbone(of_number), "float16")
    kept = {}
    for name in ("token_ratio_0.1", "token_ratio_0.5", "token_ratio_1"):
        fields = {field.partition("#")[2]: value for field, value in arms[name].overrides.items()}
        kept[name] = frozen_backbone(dataclasses.replace(of_number, **fields)).num_tokens
    assert kept == {"token_ratio_0.1": 1, "token_ratio_0.5": 8, "token_ratio_1": 17}
    the_same = dataclasses.replace(CONFIG, num_tokens=8)
    _, skipped = ablation_arms(the_same, frozen_backbone(the_same), "float16")
    assert skipped["token_ratio_0.5"] == "the recipe does this anyway"
    plain, _ = ablation_arms(CONFIG, frozen_backbone(CONFIG), "float16")
    assert plain["token_ratio_0.5"].overrides == {"network_config#token_ratio": 0.5}


def test_ablations_of_the_stable_recipe_are_what_their_names_say() -> None:
    stable = dataclasses.replace(CONFIG, members=5, linear_members=4, side_init="fan_in")
    arms, skipped = ablation_arms(stable, frozen_backbone(stable), "float16")

    def sides(arm: str) -> list[str]:
        fields = {name.rpartition("#")[2]: value for name, value in arms[arm].overrides.items()}
        side = FPTClassifier(dataclasses.replace(stable, **fields)).side
        return [type(member).__name__ for member in getattr(side, "members", [side])]

    assert sides("members_3") == ["SideViT"] * 3
    assert sides("linear_member") == ["LinearSide"]
    assert skipped["side_init_fan_in"] == "the recipe does this anyway"
    alone = dataclasses.replace(CONFIG, linear_members=1)
    _, skipped = ablation_arms(alone, frozen_backbone(alone), "float16")
    assert skipped["linear_member"] == "the recipe does this anyway"


def test_a_backbone_without_prefix_tokens_has_no_ablation_of_them() -> None:
    config = dataclasses.replace(
        CONFIG, backbone="vit_base_patch16_siglip_224", backbone_kwargs={"depth": 1, "embed_dim": 48, "num_heads": 3}
    )
    _, skipped = ablation_arms(config, frozen_backbone(config), "float16")
    assert "no CLS token" in skipped["importance_class_token"] or "has none" in skipped["importance_class_token"]
    assert {skipped[f"prefix_tokens_{policy}"] for policy in ("keep", "drop")} == {
        "the backbone has neither CLS token nor registers"
    }
    assert "blocks_lower" in skipped
