"""Settings: what is finished is kept for the settings it was made with, and what cannot be is refused before anything is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from compare_toys import CONFIG, toy_overrides

from monai_fpt.compare import FPTArmComparison, FPTArmData, FPTArmInfo, FPTArmResult, compare_in_bundle, run_comparison
from monai_fpt.compare.record import other_settings
from monai_fpt.compare.shared import claim_folder
from monai_fpt.experiments._write import write_json
from monai_fpt.features import FeatureStore, FPTModelCard

PROBES = ("knn", "logistic_regression")


@pytest.fixture(scope="module")
def finished(toy_table: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTArmComparison:
    """Probes and a tuning arm."""
    root = tmp_path_factory.mktemp("settings")
    overrides = toy_overrides(toy_table, root / "run", root / "features")
    options = {"bitfit": {"max_epochs": 1}}
    return run_comparison(
        overrides, arms=[*PROBES, "bitfit"], seeds=[0], arm_options=options, bootstrap=100, quiet=True
    )


@pytest.mark.parametrize(
    ("changed", "arms", "said"),
    [
        ({"network_config#positions": "timm"}, "knn", r"other settings \(features.positions\)"),
        ({"network_config#norm_eps": 1e-3}, "bitfit", r"other settings \(features.norm_eps\)"),
        (
            {"network_config#backbone_kwargs": {**CONFIG.backbone_kwargs, "proj_drop_rate": 0.1}},
            "bitfit",
            r"other settings \(features.backbone_kwargs\)",
        ),
        ({"feature_dtype": "float32"}, "knn", r'seed_0" holds a run with other settings \(feature_dtype\)'),
    ],
    ids=["positions", "norm epsilon", "arguments of the backbone", "precision of tokens"],
)
def test_a_result_is_not_kept_when_what_it_depends_on_is_changed(
    changed: dict[str, Any], arms: str, said: str, finished: FPTArmComparison, toy_table: Path, tmp_path: Path
) -> None:
    """The cache refuses other features by itself, and tells the user to give another one: that must not be a way around."""
    overrides = toy_overrides(toy_table, finished.folder, tmp_path / "features") | changed
    options = {"bitfit": {"max_epochs": 1}} if arms == "bitfit" else {}
    with pytest.raises(FileExistsError, match=said):
        run_comparison(overrides, arms=arms, seeds=[0], arm_options=options, bootstrap=100, quiet=True)


def test_what_no_arm_there_depends_on_may_change(finished: FPTArmComparison, toy_table: Path, tmp_path: Path) -> None:
    """Another selection of tokens for FPT+, another precision for an arm that reads images, and a cache of all tokens."""
    before = {path: path.read_bytes() for path in finished.folder.rglob("arm.json")}
    asked: list[tuple[dict[str, Any], str]] = [
        ({"network_config#num_tokens": 3}, "knn"),
        ({"feature_dtype": "float32"}, "bitfit"),
        ({"tokens": "all"}, "knn"),
    ]
    for number, (changed, arms) in enumerate(asked):
        overrides = toy_overrides(toy_table, finished.folder, tmp_path / f"features_{number}") | changed
        options = {"bitfit": {"max_epochs": 1}} if arms == "bitfit" else {}
        run_comparison(overrides, arms=arms, seeds=[0], arm_options=options, bootstrap=100, quiet=True)
    assert {path: path.read_bytes() for path in finished.folder.rglob("arm.json")} == before


def test_a_record_of_the_first_version_is_compared_by_what_it_has() -> None:
    before = {"features": {"mean": 1}, "options": {"k": 5}}
    now = {"features": {"mean": 1, "positions": "timm"}, "options": {"k": 5}, "feature_dtype": "int8"}
    assert other_settings(before, now, 1) == [] and other_settings(before, now, 2) == [
        "feature_dtype",
        "features.positions",
    ]
    assert other_settings(before, {**now, "options": {"k": 5, "tokens": "mean"}}, 1) == ["options.tokens"]


def test_a_comparison_of_the_first_version_goes_on_and_keeps_the_rest_from_then_on(tmp_path: Path) -> None:
    write_json(tmp_path / "comparison.json", {"version": 1, "settings": {"features": {"mean": 1}}})
    claim_folder(tmp_path, {"features": {"mean": 1, "positions": "timm"}})
    with pytest.raises(FileExistsError, match=r"other settings \(features.positions\)"):
        claim_folder(tmp_path, {"features": {"mean": 1, "positions": "original"}})


def test_a_share_of_tokens_is_trained_with_that_share(toy_table: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", tmp_path / "features") | {"network_config#num_tokens": 4}
    run_comparison(overrides, arms="fpt_plus,token_ratio_0.5", seeds=[0], bootstrap=100, quiet=True)
    kept = sorted(FeatureStore(path).spec.num_tokens for path in tmp_path.glob("features*"))
    assert kept == [4, 8]


@pytest.mark.parametrize(
    ("arms", "options", "said"),
    [
        ("knn", {"knn": {"ks": 5}}, r"knn: ks=5 must be a list of whole numbers, such as \[5, 10\]"),
        ("knn", {"knn": {"ks": [5.5]}}, r"knn: ks=\[5.5\] must be a list of whole numbers"),
        ("knn", {"knn": 5}, r'arm_options of "knn" are 5; give settings by name, as {"knn": {"setting"'),
        ("knn", {"knn": {"kk": 5}}, '"knn" has no kk; it has tokens, ks'),
        ("attentive_probe", {"attentive_probe": {"learning_rates": 1e-3}}, "learning_rates=0.001 must be a list"),
        ("attentive_probe", {"attentive_probe": {"queries": 0}}, "queries=0 must be a whole number of at least 1"),
        ("attentive_probe", {"attentive_probe": {"warmup": 2}}, "warmup=2 must be a number between 0 and 1"),
        ("attention_mil", {"attention_mil": {"epochs": 0}}, "epochs=0 must be a whole number of at least 1"),
        ("attention_mil", {"attention_mil": {"learning_rate": "x"}}, "learning_rate='x' must be a number of at least"),
        ("logistic_regression", {"logistic_regression": {"cs": "1"}}, "cs='1' must be a list of numbers"),
        ("bitfit", {"bitfit": {"learning_rates": 1e-3}}, "learning_rates=0.001 must be a list of numbers"),
        ("bitfit", {"bitfit": {"max_epochs": 1.5}}, "max_epochs=1.5 must be a whole number"),
        ("bitfit", {"bitfit": {"clip_norm": 0}}, "clip_norm=0 would stop all learning"),
        ("fpt_plus", {"fpt_plus": {"seed": 3}}, '"fpt_plus" sets seed, which the comparison sets itself'),
        ("fpt_plus", {"fpt_plus": {"run_dir": "/x"}}, "sets run_dir, which the comparison sets itself"),
        ("dropout_0", {"dropout_0": {"learning_rat": 1}}, '"dropout_0": The train configuration has no "learning_rat"'),
        (
            "fpt",
            {"fpt": {"network_config#foo": 2}},
            '"fpt": "network_config#foo" .* the network has no "foo"; it has method',
        ),
        ("fpt", {"fpt": {"network_config#dropout": 2}}, 'arm_options of "fpt": .*dropout'),
        ("fpt_plus_stable", {"fpt_plus_stable": {"network_config#members": 1}}, '"fpt_plus_stable": .*linear_members'),
    ],
)
def test_a_setting_of_an_arm_that_cannot_be_is_refused_before_anything_is_read(
    arms: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        run_comparison({"dataset_dir": "/nowhere"}, arms=arms, arm_options=options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "stak"}, "engine='stak' is not one of 'auto', 'stack', 'bundle'"),
        ({"at_once": 0}, "at_once=0 must be a whole number"),
        ({"reference": "fpt_pluss"}, 'the reference "fpt_pluss" is not among the arms; name one of knn'),
        ({"seeds": (0.5,)}, r"seeds \[0.5\] must be whole numbers"),
        ({"seeds": (-1,)}, "at least 0"),
    ],
    ids=["engine", "at once", "reference", "half a seed", "negative seed"],
)
def test_an_option_without_effect_is_refused_before_anything_is_read(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_comparison({"dataset_dir": "/nowhere"}, arms="knn", **options)


def test_a_network_that_no_arm_can_have_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match=r"^(?!.*arm_options).*dropout"):
        run_comparison({"dataset_dir": "/nowhere", "network_config#dropout": 2}, arms="knn,fpt_plus")


@pytest.mark.parametrize(
    ("arms", "options", "said"),
    [
        ("fpt_plus,fpt_plus_stable", {"network_config#side_reduction": 5}, "side_reduction=5"),
        ("fpt_plus,fpt_plus_stable", {"model_selection": "lst"}, "model_selection='lst'"),
        ("fpt_plus,members_3", {"class_weights": "nonsense"}, "nonsense"),
        ("fpt_plus,members_3", {"network_config#linear_members": 4}, "linear_members=4"),
    ],
    ids=["width", "choice", "loss", "ablation"],
)
def test_an_arm_that_cannot_be_is_named_before_the_first_is_trained(
    arms: str, options: dict[str, Any], said: str, toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    own = arms.split(",")[1]
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache)
    with pytest.raises(ValueError, match=f'"{own}".*{said}') as raised:
        run_comparison(overrides, arms=arms, seeds=[0], arm_options={own: options}, bootstrap=100, quiet=True)
    assert raised.value.__cause__ is None  # else the command line prints the cause, which names no arm
    assert not (tmp_path / "run" / "fpt_plus").exists()


def test_settings_of_an_ablation_are_judged_with_what_it_changes(
    toy_table: Path, token_cache: Path, tmp_path: Path
) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {"max_epochs": 1}
    options = {"members_3": {"network_config#linear_members": 2}}
    found = run_comparison(overrides, arms="members_3", seeds=[0], arm_options=options, bootstrap=100, quiet=True)
    network = FPTModelCard.load(found.folder / "members_3" / "seed_0" / "model.json").network
    assert (network.members, network.linear_members) == (3, 2)


def test_an_arm_without_features_has_no_linear_members(toy_table: Path, token_cache: Path, tmp_path: Path) -> None:
    overrides = toy_overrides(toy_table, tmp_path / "run", token_cache) | {
        "max_epochs": 1,
        "network_config#members": 5,
        "network_config#linear_members": 4,
    }
    found = run_comparison(overrides, arms="side_only", seeds=[0], bootstrap=100, quiet=True)
    network = FPTModelCard.load(found.folder / "side_only" / "seed_0" / "model.json").network
    assert (network.members, network.linear_members) == (1, 0)


def test_an_arm_of_ones_own_that_trips_over_an_option_is_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own:
        sizes: tuple[int, ...] = (1,)

        def __post_init__(self) -> None:
            object.__setattr__(self, "sizes", tuple(self.sizes))

        def __call__(self, arm_data: FPTArmData, seed: int) -> FPTArmResult:
            raise NotImplementedError

    own = FPTArmInfo("own", "", "", "probe", arm=Own())
    with pytest.raises(ValueError, match=r"the arm \"own\" cannot take {'sizes': 5} \('int' object is not iterable\)"):
        run_comparison({"dataset_dir": "/nowhere"}, arms=[own], arm_options={"own": {"sizes": 5}})


def test_seeds_of_the_bundle_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match='"0,x" are no seeds; write whole numbers with commas between'):
        compare_in_bundle({"dataset_dir": "/nowhere"}, arms="knn", seeds="0,x")
