"""What looks right and is not: other class orders, other tables, words for switches, other settings at a resume."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bundle_toys import CLASSES, tiny_overrides

from monai_fpt.bundle import run_bundle
from monai_fpt.data import FPTDataList, build_data_list
from monai_fpt.handlers import fpt_flag, fpt_root_cause


def refused(job: str, overrides: dict[str, Any]) -> str:
    with pytest.raises(Exception) as caught:
        run_bundle(job, overrides)
    cause = fpt_root_cause(caught.value)
    assert cause is not None, repr(caught.value)
    return str(cause)


def evaluation(trained: Path, images: Path, **more: Any) -> dict[str, Any]:
    return {"dataset_dir": str(images), "run_dir": str(trained), "device": "cpu", "track": False, **more}


def test_a_list_with_another_class_order_is_refused(trained: Path, images: Path, tmp_path: Path) -> None:
    own = FPTDataList.load(trained / "data_list.json", images)
    turned = [
        [item | {"label": 1 - item["label"]} for item in own.section(s)] for s in ("training", "validation", "test")
    ]
    FPTDataList(CLASSES[::-1], *turned).save(tmp_path / "turned.json")
    said = refused("evaluate", evaluation(trained, images, data_list=str(tmp_path / "turned.json")))
    assert "['malignant', 'benign']" in said


@pytest.mark.parametrize("split", [None, "test"], ids=["no split column", "all rows are test"])
def test_another_labelled_table_is_evaluated_to_its_last_row(
    trained: Path, images: Path, tmp_path: Path, split: str | None
) -> None:
    rows = [{"image": p.relative_to(images).as_posix(), "label": p.parent.name} for p in sorted(images.rglob("*.png"))]
    frame = pd.DataFrame(rows)
    if split:
        frame["split"] = split
    frame.to_csv(tmp_path / "other.csv", index=False)
    output = tmp_path / "out"
    run_bundle("evaluate", evaluation(trained, images, data_list=str(tmp_path / "other.csv"), output_dir=str(output)))
    with open(output / "test_predictions.csv", newline="", encoding="utf-8") as file:
        assert sorted(row["image"] for row in csv.DictReader(file)) == sorted(row["image"] for row in rows)


def test_a_table_of_one_class_can_be_evaluated(trained: Path, images: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": [f"test/malignant/{i}.png" for i in range(6)], "label": "malignant"})
    frame.to_csv(tmp_path / "one.csv", index=False)
    data = build_data_list(images, tmp_path / "one.csv", classes=CLASSES, only="test")
    assert [item["label"] for item in data.test] == [1] * 6 and not data.training


@pytest.mark.parametrize(
    ("word", "meant"), [("false", False), ("False", False), (0, False), ("true", True), (True, True)]
)
def test_a_switch_means_what_it_says(word: Any, meant: bool) -> None:
    assert fpt_flag(word, "resume") is meant


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="amp='maybe' is neither true nor false"):
        fpt_flag("maybe", "amp")


def test_resume_false_as_a_word_does_not_resume(trained: Path, images: Path) -> None:
    assert "holds a training already" in refused("train", tiny_overrides(images, trained) | {"resume": "false"})


@pytest.mark.parametrize(
    "changed",
    [{"max_epochs": 5}, {"learning_rate": 0.1}, {"seed": 7, "split_seed": 0}, {"optimizer#betas": [0.5, 0.5]}],
    ids=str,
)
def test_a_resume_with_other_settings_is_refused(trained: Path, images: Path, changed: dict[str, Any]) -> None:
    before = (trained / "model.pt").read_bytes()
    said = refused("train", tiny_overrides(images, trained) | {"resume": True, "track": False} | changed)
    assert "last.pt" in said
    assert (trained / "model.pt").read_bytes() == before


@pytest.mark.parametrize("job", ["predict", "evaluate"])
def test_nothing_trained_is_said_at_once(images: Path, tmp_path: Path, job: str) -> None:
    assert "no trained model" in refused(
        job, {"dataset_dir": str(images), "run_dir": str(tmp_path / "nowhere"), "device": "cpu"}
    )


def test_a_refused_cache_leaves_no_run_folder(trained: Path, images: Path, tmp_path: Path) -> None:
    settings = {"cache_dir": str(trained / "features"), "network_config#backbone_kwargs": {"depth": 4}}
    refused("train", tiny_overrides(images, tmp_path / "run") | settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["PatientID", "patient id", "Case_ID", "SUBJECT"])
def test_patients_are_found_however_the_column_is_spelt(images: Path, tmp_path: Path, name: str) -> None:
    paths = sorted(p.relative_to(images).as_posix() for p in images.rglob("*.png"))
    frame = pd.DataFrame(
        {"image": paths, "label": [Path(p).parent.name for p in paths], name: [f"p{i % 13}" for i in range(len(paths))]}
    )
    frame.to_csv(tmp_path / "patients.csv", index=False)
    data = build_data_list(images, tmp_path / "patients.csv", val_fraction=0.2)
    homes = [{item["group"] for item in data.section(s)} for s in ("training", "validation", "test")]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])


def test_the_cache_knows_the_reader_but_not_what_else_is_installed(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    told = card["features"]["preprocessing"]
    assert "FPTImageReader" in told and '"version":2' in told
    assert "ITKReader" not in told and "nvimgcodec" not in told.lower()
