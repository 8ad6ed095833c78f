"""run_comparison: one table over arms and seeds, nothing repeated, nothing overwritten, the test section chooses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compare_toys import CHEAP, COUNTS, toy_overrides, write_table
from sklearn.metrics import roc_auc_score

from monai_fpt.compare import (
    ARM_GROUPS,
    FPT_ARMS,
    FPTArmComparison,
    FPTArmData,
    FPTArmInfo,
    FPTArmResult,
    run_comparison,
)
from monai_fpt.compare.adapters import _overruled
from monai_fpt.compare.in_bundle import overridden_ids
from monai_fpt.compare.shared import claim_folder
from monai_fpt.data import FPTDataList
from monai_fpt.experiments.recipe import train_parser
from monai_fpt.metrics import FPTPredictions

PROBES = ("knn", "logistic_regression")


def rows_of(table: Path) -> list[Any]:
    return [tuple(line.split(",")) for line in table.read_text().split()[1:]]


def test_the_table_says_what_the_predictions_say(compared: FPTArmComparison) -> None:
    assert [row.name for row in compared.rows] == list(CHEAP)
    table = json.loads((compared.folder / "compare.json").read_text())
    for row, told in zip(compared.rows, table["arms"], strict=True):
        aucs = []
        for run in row.runs:
            saved = FPTPredictions.load(compared.folder / row.name / f"seed_{run.seed}" / "test_predictions.json")
            assert saved.keys == compared.rows[0].runs[0].predictions["test"].keys
            aucs.append(roc_auc_score(saved.labels, saved.probabilities()[:, 1]))
        assert told["test_auc"]["by_seed"] == pytest.approx(aucs)
        assert told["test_auc"]["mean"] == pytest.approx(np.mean(aucs))
        assert told["test_auc"]["worst"] == pytest.approx(min(aucs))
        assert f"{np.mean(aucs):.3f}" in str(compared)
    assert (compared.folder / "compare.txt").read_text() == f"{compared}\n"
    assert compared.row("fpt_plus").difference is None and compared.row("knn").difference is not None


def test_what_no_seed_changes_is_computed_once(compared: FPTArmComparison) -> None:
    assert {row.name: len(row.runs) for row in compared.rows} == {name: 1 if name in PROBES else 2 for name in CHEAP}


def test_costs_are_counted(compared: FPTArmComparison) -> None:
    fpt_plus, side_only, knn, logistic = compared.rows
    assert (
        fpt_plus.learnable_parameters == side_only.learnable_parameters > logistic.learnable_parameters == 2 * 192 + 1
    )
    assert knn.learnable_parameters == 0 and knn.training_bytes is None and knn.share_of_memory == 0
    state = torch.load(compared.folder / "fpt_plus" / "seed_0" / "model.pt", weights_only=True)
    assert fpt_plus.learnable_parameters == sum(t.numel() for n, t in state.items() if n != "backbone_id")
    assert fpt_plus.training_bytes is not None and fpt_plus.training_bytes > 4 * 4 * fpt_plus.learnable_parameters
    assert 0 < fpt_plus.share_of_memory < 1
    # the whole ViT at 64 px with a head of two classes, by hand: patches, CLS, positions, two blocks, norm, head
    width, block = 192, 4 * 192 + 3 * 192 * 193 + 192 * 193 + 192 * 768 + 768 + 768 * 192 + 192
    assert compared.full.parameters == 768 * width + width + width + 17 * width + 2 * block + 2 * width + 2 * width + 2


def test_everything_is_one_run_with_runs_below(compared: FPTArmComparison) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{compared.folder / 'mlflow.db'}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (above,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == above.info.run_id]
    assert len(below) == len(runs) - 1 == 2 + 2 + 1 + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert above.data.metrics["knn/test_auc_mean"] == pytest.approx(compared.row("knn").auc.value)
    assert {file.path for file in client.list_artifacts(above.info.run_id)} >= {
        "compare.html",
        "compare.json",
        "compare.txt",
    }


def again(compared: FPTArmComparison, toy_table: Path, token_cache: Path, **changed: Any) -> dict[str, Any]:
    return toy_overrides(toy_table, compared.folder, token_cache) | {"tokens": "all"} | changed


def test_what_is_finished_is_not_repeated(
    compared: FPTArmComparison, toy_table: Path, token_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in compared.folder.rglob("seed_*/*") if path.is_file()}
    monkeypatch.setattr("monai_fpt.experiments.runs.train_members", lambda *_, **__: pytest.fail("trained again"))
    for name in ("knn.FPTNeighbours", "logistic.FPTLinearProbe"):
        monkeypatch.setattr(f"monai_fpt.compare.{name}.__call__", lambda *_: pytest.fail("computed again"))
    found = run_comparison(again(compared, toy_table, token_cache), arms=CHEAP, seeds=(0, 1), bootstrap=200, quiet=True)
    assert str(found) == str(compared)
    assert {path: path.read_bytes() for path in before} == before


def test_another_comparison_is_not_taken_for_this_one(
    compared: FPTArmComparison, toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    for changed, said in (({"learning_rate": 0.1}, "learning_rate"), ({"class_weights": "balanced"}, "class_weights")):
        with pytest.raises(FileExistsError, match=said):
            run_comparison(again(compared, toy_table, token_cache, **changed), arms=["fpt_plus"], seeds=[0], quiet=True)
    with pytest.raises(FileExistsError, match="labels_shuffled"):
        run_comparison(again(compared, toy_table, token_cache), arms=["knn"], shuffle_labels=True, quiet=True)
    with pytest.raises(FileExistsError, match="options"):
        run_comparison(
            again(compared, toy_table, token_cache), arms=["knn"], arm_options={"knn": {"tokens": "mean"}}, quiet=True
        )
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"something else \(model.pt\)"):
        claim_folder(tmp_path, {})


def test_labels_of_the_test_section_choose_nothing(
    compared: FPTArmComparison, toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    """With other test labels every weight, choice and logit is the same; only the scores differ."""
    flip = {"benign": "malignant", "malignant": "benign"}
    rows = [(i, flip[label] if s == "test" else label, s, p) for i, label, s, p in rows_of(toy_table)]
    other = write_table(toy_table.with_name("flipped.csv"), rows)
    overrides = toy_overrides(other, tmp_path / "run", token_cache) | {"tokens": "all"}
    found = run_comparison(overrides, arms=CHEAP, seeds=(0, 1), bootstrap=200, quiet=True)
    for ours, theirs in zip(compared.rows, found.rows, strict=True):
        assert ours.validation == theirs.validation
        assert theirs.test == pytest.approx([1 - auc for auc in ours.test])
        for one, another in zip(ours.runs, theirs.runs, strict=True):
            assert one.chosen == another.chosen and one.best_epoch == another.best_epoch
            for section in ("validation", "test"):
                assert np.array_equal(one.predictions[section].logits, another.predictions[section].logits)
        for path in sorted((compared.folder / ours.name).rglob("model.pt")):
            states = [
                torch.load(root / path.relative_to(compared.folder), weights_only=True)
                for root in (compared.folder, found.folder)
            ]
            assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_shuffled_labels_are_said_and_deal_anew_for_every_seed(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all"}
    arms = ("fpt_plus", *PROBES)
    found = run_comparison(overrides, arms=arms, seeds=(0, 1, 2, 3), shuffle_labels=True, bootstrap=200, quiet=True)
    page = (found.folder / "compare.html").read_text()
    assert "Labels were shuffled" in page and "LABELS SHUFFLED" in str(found) and "dealt anew" in str(found)
    assert all(len(row.runs) == 4 for row in found.rows)
    labels = [run.predictions["validation"].labels.tolist() for run in found.row("knn").runs]
    assert len({tuple(one) for one in labels}) > 1
    assert all(sum(one) == COUNTS["val"] // 2 for one in labels)
    true = [run.predictions["test"].labels.tolist() for run in found.row("knn").runs]
    assert all(one == true[0] for one in true)
    for ours, theirs in zip(found.row("fpt_plus").runs, found.row("knn").runs, strict=True):
        assert np.array_equal(ours.predictions["validation"].labels, theirs.predictions["validation"].labels)


def test_patients_are_judged_where_they_are_put_together(toy_table: Path, token_cache: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all", "aggregate": "mean"}
    found = run_comparison(overrides, arms="logistic_regression", seeds=[0], bootstrap=100, quiet=True)
    judged = found.rows[0].runs[0].predictions["test"]
    names = sorted(set(judged.groups))
    rows = [[n for n, group in enumerate(judged.groups) if group == name] for name in names]
    means = [judged.probabilities()[own, 1].mean() for own in rows]
    assert found.rows[0].test == pytest.approx([roc_auc_score([judged.labels[own[0]] for own in rows], means)])
    assert found.patients == COUNTS["test"] // 2 and "put together by mean" in str(found)


def test_several_findings_are_compared(toy_table: Path, token_cache: Path, tmp_path: Path) -> None:
    dealt = train_parser(toy_overrides(toy_table, tmp_path / "run", token_cache)).get_parsed_content("data")
    sections = {
        name: [
            item | {"label": [float(item["label"]), float(n % 3 == 0)]} for n, item in enumerate(dealt.section(name))
        ]
        for name in ("training", "validation", "test")
    }
    FPTDataList(classes=("bright", "third"), task="multilabel", **sections).save(toy_table.with_name("findings.json"))
    overrides = toy_overrides(toy_table.with_name("findings.json"), tmp_path / "run", token_cache) | {"tokens": "all"}
    del overrides["group_column"]
    options = {"attention_mil": {"epochs": 2}}
    arms = ("fpt_plus", *PROBES, "attention_mil")
    found = run_comparison(overrides, arms=arms, seeds=[0], arm_options=options, bootstrap=100, quiet=True)
    for row in found.rows:
        judged = row.runs[0].predictions["test"]
        expected = roc_auc_score(judged.labels, judged.probabilities(), average="macro")
        assert judged.labels.shape == (COUNTS["test"], 2) and row.test == pytest.approx([expected])


def test_a_preset_wins_over_what_the_caller_sets() -> None:
    preset = {"_preset_": "words", "+network_config": {"side_init": "fan_in"}, "learning_rate": 0.1}
    whole = {"learning_rate": 1, "network_config": {"side_size": 64, "side_init": "paper"}, "max_epochs": 2}
    assert _overruled(whole, preset) == {"network_config": {"side_size": 64, "side_init": "fan_in"}, "max_epochs": 2}
    nested = {"network_config::side_init": "paper", "network_config#side_size": 64}
    assert _overruled(nested, preset) == {"network_config#side_size": 64}


def test_arms_with_other_features_have_caches_of_their_own(toy_table: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", tmp_path / "features") | {"max_epochs": 1}
    first = run_comparison(overrides, arms="fpt_plus", seeds=[0], bootstrap=100, quiet=True)
    assert [path.name for path in tmp_path.glob("features*")] == ["features"]
    names = "fpt_plus,fpt,token_ratio_0.5,dropout_0,knn"
    found = run_comparison(overrides, arms=names, seeds=[0], bootstrap=100, quiet=True)
    folders = {path.name for path in tmp_path.glob("features*")}
    assert len(folders) == 4 and {"features", "features_tokens_pooled"} < folders
    assert found.row("fpt_plus").test == first.row("fpt_plus").test
    assert found.row("fpt").learnable_parameters != found.row("fpt_plus").learnable_parameters
    assert found.row("dropout_0").test != found.row("fpt_plus").test


def test_the_ablation_of_views_reads_each_image_once_more_and_that_of_thumbnails_in_every_epoch(
    toy_table: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", tmp_path / "features") | {"max_epochs": 1}
    names = "fpt_plus,mirrored_views,original_images"
    found = run_comparison(overrides, arms=names, seeds=[0], bootstrap=100, quiet=True)
    assert {path.name for path in tmp_path.glob("features*")} == {"features", "features_mirrored"}
    logits = [found.row(name).runs[0].predictions["test"].logits for name in names.split(",")]
    assert not np.allclose(logits[0], logits[1], atol=1e-5) and not np.allclose(logits[0], logits[2], atol=1e-5)


def test_a_user_brings_an_option_and_a_misspelt_one_is_refused(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all"}
    options = {"logistic_regression": {"tokens": "mean", "cs": [0.5]}}
    found = run_comparison(
        overrides, arms="logistic_regression", seeds=[0], arm_options=options, bootstrap=100, quiet=True
    )
    assert found.rows[0].learnable_parameters == 193 and found.rows[0].runs[0].chosen["C"] == 0.5
    with pytest.raises(ValueError, match='"knn" has no token; it has tokens, ks'):
        run_comparison(overrides, arms="knn", arm_options={"knn": {"token": "mean"}}, quiet=True)
    with pytest.raises(ValueError, match="names lora, which is not among the arms"):
        run_comparison(overrides, arms="knn", arm_options={"lora": {}}, quiet=True)


def test_an_arm_of_ones_own_is_compared_and_sees_no_test_label(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    seen: list[FPTArmData] = []

    def bright(arm_data: FPTArmData, seed: int) -> FPTArmResult:
        seen.append(arm_data)
        means = {
            name: torch.tensor([float(arm_data.load(item).mean()) for item in arm_data.data.section(name)])
            for name in ("validation", "test")
        }
        return FPTArmResult({name: torch.stack([-mean, mean], 1) for name, mean in means.items()}, 0, None)

    own = FPTArmInfo("brightness", "mean of the pixels", "no paper", "probe", seeded=False, arm=bright)
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all"}
    found = run_comparison(overrides, arms=["knn", own], seeds=[0], reference="knn", bootstrap=100, quiet=True)
    assert found.row("brightness").auc.value > 0.6 and "no paper" in (found.folder / "compare.html").read_text()
    assert {item["label"] for item in seen[0].data.test} == {0}
    assert not seen[0].work_dir.exists()
    assert {tuple(seen[0].tokens(name).shape[1:]) for name in ("training", "test")} == {(17, 192)}


def test_a_missing_package_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_fpt.compare.arms.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"lora, dora need the package peft.*pip install \"monai-fpt\[compare\]\""):
        run_comparison({"dataset_dir": "/nowhere"}, arms="knn,lora,dora,bitfit")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arms": "fpt_minus"}, 'no arm "fpt_minus"'),
        ({"arms": []}, "arms is empty"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"bootstrap": 10}, "at least 100"),
        ({"level": 95}, "between 0 and 1"),
    ],
    ids=["arm", "no arms", "no seeds", "same seeds", "resamples", "level"],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_comparison({"dataset_dir": "/nowhere"}, **options)


def test_a_list_without_test_images_is_refused(toy_table: Path, token_cache: Path, tmp_path: Path) -> None:
    rows = [row for row in rows_of(toy_table) if row[2] != "test"]
    table = write_table(toy_table.with_name("untested.csv"), rows)
    with pytest.raises(ValueError, match="no test images"):
        run_comparison(toy_overrides(table, tmp_path / "run", token_cache) | {"tokens": "all"}, arms="knn", quiet=True)


def test_logits_of_a_wrong_shape_are_an_error_and_leave_no_result(
    toy_table: Path, token_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(self: Any, arm_data: FPTArmData, seed: int) -> FPTArmResult:
        return FPTArmResult({"validation": torch.zeros(12, 2), "test": torch.zeros(11, 2)}, 0, None)

    monkeypatch.setattr("monai_fpt.compare.knn.FPTNeighbours.__call__", short)
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all"}
    with pytest.raises(ValueError, match=r"logits \(11, 2\) for the test section, which needs \(12, 2\)"):
        run_comparison(overrides, arms="knn", seeds=[0], quiet=True)
    assert not list((tmp_path / "run").rglob("arm.json")) and not (tmp_path / "run" / "compare.json").exists()


def test_a_page_stands_alone_and_escapes_what_it_is_given(compared: FPTArmComparison) -> None:
    page = (compared.folder / "compare.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page and "src=" not in page
    assert page.count("<svg") == 2 and "Is it right for me?" in page
    assert str(compared.folder) not in page and "images/test_0.png" not in page
    from dataclasses import replace

    from monai_fpt.compare.page import comparison_page

    assert "&lt;b&gt;" in comparison_page(replace(compared, classes=("<b>", "c")))


def test_every_group_names_arms_that_are_there() -> None:
    assert {name for names in ARM_GROUPS.values() for name in names} == set(FPT_ARMS)
    assert not {name for name in ARM_GROUPS["default"] if FPT_ARMS[name].kind == "tuning"}


def test_ids_that_a_running_bundle_overrides_are_found() -> None:
    given = {"dataset_dir": "/d", "network_config#side_size": 64, "max_epochs": 3}
    parser = train_parser(given)
    parser.parse()
    found = overridden_ids(parser.config | {"arms": "knn"})
    assert {name: found[name] for name in ("dataset_dir", "max_epochs")} == {"dataset_dir": "/d", "max_epochs": 3}
    assert set(found) == {"dataset_dir", "max_epochs", "network_config"} and found["network_config"]["side_size"] == 64


def test_the_bundle_compares(toy_table: Path, token_cache: Path, tmp_path: Path) -> None:
    from monai.bundle import ConfigWorkflow

    from monai_fpt.bundle import bundle_config

    files = [str(bundle_config("train")), str(bundle_config("train").with_name("compare.json"))]
    given = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"tokens": "all", "arms": "knn", "bootstrap": 100}
    workflow = ConfigWorkflow(
        files, meta_file=str(bundle_config("train").with_name("metadata.json")), workflow_type="train", **given
    )
    for step in (workflow.initialize, workflow.run, workflow.finalize):
        step()
    assert json.loads((tmp_path / "run" / "compare.json").read_text())["arms"][0]["arm"] == "knn"
