"""The champion changes where the challenger is shown to be better on the same patients, and not otherwise."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from registry_toys import copied_run, drawn_predictions
from sklearn.metrics import roc_auc_score

from monai_fpt.metrics import FPTPredictions
from monai_fpt.registry import promote_model, register_model
from monai_fpt.registry.pseudonyms import pseudonymous
from monai_fpt.report import compare_predictions


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def register(toy_run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register a model under a name, with these predictions for the test section."""
    monkeypatch.setattr("monai_fpt.registry.register.require_answer", lambda *_: None)  # quicker

    def one(name: str, predictions: FPTPredictions | None) -> Any:
        run = copied_run(toy_run, tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}", predictions)
        if predictions is None:
            (run / "test_predictions.json").unlink()
        return register_model(run, name, tracking_uri=store)

    return one


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Alias to version; a database gives numbers and a server texts."""
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


WEAK, STRONG = drawn_predictions(0.3), drawn_predictions(2.0, seed=1)


def test_the_first_is_champion_and_a_better_one_takes_its_place(
    register: Any, store: str, client: MlflowClient
) -> None:
    register("rising", WEAK)
    first = promote_model("rising", tracking_uri=store)
    assert first.promoted and first.comparison is None and "there was none before" in str(first)
    assert aliases(client, "rising") == {"champion": "1"}

    register("rising", STRONG)
    second = promote_model("rising", tracking_uri=store)
    assert second.promoted and second.champion == "1" and second.comparison is not None
    found = second.comparison.differences["auc"]
    wanted = [roc_auc_score(p.labels, p.logits[:, 1] - p.logits[:, 0]) for p in (WEAK, STRONG)]
    assert [found.champion, found.challenger] == pytest.approx(wanted) and found.difference.low > 0
    assert aliases(client, "rising") == {"champion": "2"}
    tags = client.get_model_version("rising", "2").tags
    assert tags["fpt.compared_with_version"] == tags["fpt.replaced_champion"] == "1"
    assert "on 120 images of 120 patients: better" in tags["fpt.comparison"]
    assert "is champion now, instead of version 1 (auc: better)" in str(second)
    assert not promote_model("rising", challenger="2", tracking_uri=store).promoted


@pytest.fixture(scope="module")
def ruled(toy_run: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A name with four versions: as good as 1.0, better, worse, and alike."""
    folder = tmp_path_factory.mktemp("ruled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai_fpt.registry.register.require_answer", lambda *_: None)
        for number, strength in enumerate((1.0, 2.0, 0.1, 1.0)):
            run = copied_run(toy_run, folder / str(number), drawn_predictions(strength, seed=10 + number))
            register_model(run, "ruled", tracking_uri=store, alias=None)
    return "ruled"


@pytest.mark.parametrize(
    ("when", "version", "promoted"),
    [
        ("better", "2", True),
        ("better", "3", False),
        ("better", "4", False),
        ("not_worse", "4", True),
        ("not_worse", "3", False),
        ("always", "3", True),
    ],
    ids=["better", "worse", "alike", "alike-will-do", "worse-will-not", "whatever"],
)
def test_the_rule_decides(
    ruled: str, store: str, client: MlflowClient, when: str, version: str, promoted: bool
) -> None:
    client.set_registered_model_alias(ruled, "champion", "1")
    client.set_registered_model_alias(ruled, "challenger", version)
    found = promote_model(ruled, tracking_uri=store, when=when, bootstrap=500)
    assert found.promoted is promoted
    unmoved = {"champion": "1", "challenger": version}
    assert aliases(client, ruled) == ({"champion": version} if promoted else unmoved)
    assert "fpt.comparison" in client.get_model_version(ruled, version).tags


def test_a_registered_champion_stays_champion_when_it_is_registered_again(
    register: Any, store: str, client: MlflowClient
) -> None:
    register("again", WEAK)
    promote_model("again", tracking_uri=store)
    register("again", WEAK)
    assert aliases(client, "again") == {"champion": "1"}


def test_other_test_images_are_not_compared(register: Any, store: str, client: MlflowClient) -> None:
    register("apart", WEAK)
    promote_model("apart", tracking_uri=store)
    register("apart", STRONG.subset(range(100)))
    with pytest.raises(ValueError, match="evaluate both on the same test set"):
        promote_model("apart", tracking_uri=store)
    assert aliases(client, "apart") == {"champion": "1", "challenger": "2"}
    given = promote_model("apart", tracking_uri=store, champion_predictions=WEAK, challenger_predictions=STRONG)
    assert given.promoted


def test_a_model_that_was_not_tested_is_not_compared(register: Any, store: str) -> None:
    register("untested", WEAK)
    promote_model("untested", tracking_uri=store)
    register("untested", None)
    with pytest.raises(ValueError, match=r'Version 2 of "untested" was registered without predictions'):
        promote_model("untested", tracking_uri=store)
    with pytest.raises(ValueError, match="give both on the same test set"):
        promote_model("untested", tracking_uri=store, champion_predictions=WEAK)


def test_what_cannot_be_promoted_is_one_sentence(store: str) -> None:
    with pytest.raises(ValueError, match="when='sometimes' is not one of"):
        promote_model("toy", tracking_uri=store, when="sometimes")
    with pytest.raises(ValueError, match='no model "nothing" with alias "challenger"'):
        promote_model("nothing", tracking_uri=store)


# --- which images, and what is written when


def with_contents(predictions: FPTPredictions, prefix: str = "content", **changes: Any) -> FPTPredictions:
    contents = tuple(f"{prefix} {number}" for number in range(len(predictions)))
    return dataclasses.replace(predictions, contents=contents, **changes)


def test_images_are_paired_by_content_in_the_registry_too(register: Any, store: str, client: MlflowClient) -> None:
    register("contents", with_contents(WEAK))
    promote_model("contents", tracking_uri=store)
    renamed = tuple(f"copy {number}" for number in range(len(STRONG)))
    register("contents", with_contents(STRONG, keys=renamed, groups=renamed))
    found = promote_model("contents", tracking_uri=store)
    assert found.promoted and found.comparison is not None and found.comparison.paired_by == "content"
    register("contents", with_contents(STRONG, "other"))
    with pytest.raises(ValueError, match="judged by only one of the two"):
        promote_model("contents", tracking_uri=store)
    assert aliases(client, "contents") == {"champion": "2", "challenger": "3"}


def test_pairing_by_name_is_written_down(register: Any, store: str, client: MlflowClient) -> None:
    register("names", with_contents(WEAK))
    promote_model("names", tracking_uri=store)
    register("names", STRONG)
    found = promote_model("names", tracking_uri=store)
    assert found.promoted and "paired by name" in str(found)
    assert "paired by name" in client.get_model_version("names", "2").tags["fpt.comparison"]


def test_unknown_patients_stay_unknown_under_pseudonyms() -> None:
    none_known, known = pseudonymous(WEAK), pseudonymous(dataclasses.replace(WEAK, groups=("p", *WEAK.groups[1:])))
    assert not WEAK.patients_known and not none_known.patients_known and known.patients_known
    comparison = compare_predictions(none_known, none_known, bootstrap=100)
    assert any("No patients are known" in note for note in comparison.notes)


def test_few_resamples_move_no_alias(register: Any, store: str, client: MlflowClient) -> None:
    register("few", WEAK)
    promote_model("few", tracking_uri=store)
    register("few", STRONG)
    with pytest.raises(ValueError, match="bootstrap=1 resamples can decide nothing"):
        promote_model("few", tracking_uri=store, bootstrap=1, when="always")
    assert aliases(client, "few") == {"champion": "1", "challenger": "2"}


@pytest.mark.parametrize("step", ["set_registered_model_alias", "delete_registered_model_alias"])
def test_a_promotion_that_is_cut_off_has_written_nothing_untrue(
    register: Any, store: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = f"cut-{step}"
    for one in (WEAK, STRONG):
        register(name, one)
        promote_model(name, tracking_uri=store)
    client.set_registered_model_alias(name, "challenger", "1")  # the way back to the first, which replaced none
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            promote_model(name, tracking_uri=store, when="always")
    moved = aliases(client, name)["champion"] == "1"
    assert moved is (step == "delete_registered_model_alias")
    assert client.get_model_version(name, "1").tags.get("fpt.replaced_champion") == ("2" if moved else None)
    promote_model(name, tracking_uri=store, when="always")
    assert aliases(client, name) == {"champion": "1"}
    assert client.get_model_version(name, "1").tags["fpt.replaced_champion"] == "2"
