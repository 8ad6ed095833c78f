"""The script of docs/walkthrough.md, run as it is: a real MLflow server, real images, every step's result looked at."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from monai_fpt.metrics import FPTPredictions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1000),
    pytest.mark.skipif(sys.platform == "win32", reason="the script is for bash"),
]
SCRIPT = Path(__file__).parents[2] / "docs" / "walkthrough.sh"
WEIGHTS = "vit_tiny_patch16_224_in1k_fp16.safetensors"
SECONDS = 900  # it takes one minute or two on two quiet cores


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the script filled, and what it printed."""
    data, weights = (os.environ.get(f"MONAI_FPT_TEST_{name}") for name in ("DATA", "WEIGHTS"))
    if not data or not Path(data, "derm_benign_malignant", "labels.csv").is_file():
        pytest.skip("needs real images: set MONAI_FPT_TEST_DATA to the folder that contains derm_benign_malignant/")
    if not weights or not Path(weights, WEIGHTS).is_file():
        pytest.skip(f"needs pretrained weights: set MONAI_FPT_TEST_WEIGHTS to the folder with {WEIGHTS}")
    folder = tmp_path_factory.mktemp("walkthrough") / "work"
    source = ["--data", str(Path(data, "derm_benign_malignant")), "--weights", str(Path(weights, WEIGHTS))]
    small = ["--work", str(folder), "--image_size", "224", "--epochs", "3", "--every", "5"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "MONAI_FPT_"))}
    done = subprocess.run(
        ["bash", str(SCRIPT), *source, *small],
        env={**given, "PATH": path},
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder, done.stdout


@pytest.fixture(scope="module")
def client(walked: tuple[Path, str]) -> MlflowClient:
    return MlflowClient(f"sqlite:///{walked[0]}/mlflow.db")


def runs(client: MlflowClient) -> Mapping[str, Any]:
    return {
        run.info.run_name: run for run in client.search_runs([e.experiment_id for e in client.search_experiments()])
    }


def answer(path: Path) -> dict[str, Any]:
    (one,) = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    return dict(one)


def test_training_and_evaluation_are_finished_runs_with_metrics_and_report(client: MlflowClient) -> None:
    found = runs(client)
    assert {name: run.info.status for name, run in found.items()} == {
        "walkthrough": "FINISHED",
        "walkthrough, evaluated": "FINISHED",
    }
    run = found["walkthrough"]
    assert len(client.get_metric_history(run.info.run_id, "val_auc")) == 3
    assert 0 <= run.data.metrics["test_auc"] <= 1


def test_nothing_that_was_tracked_or_packed_tells_a_folder(client: MlflowClient, walked: tuple[Path, str]) -> None:
    folder, _ = walked
    texts = [path for path in (folder / "artifacts").rglob("*") if path.suffix in (".json", ".md", ".yaml", ".html")]
    assert len(texts) > 5
    assert [path for path in texts if str(folder) in path.read_text(encoding="utf-8", errors="replace")] == []
    told = [dict(run.data.params) | dict(run.data.tags) for run in runs(client).values()]
    assert str(folder) not in json.dumps(told)


def test_the_champion_is_the_registered_version_of_the_training(client: MlflowClient, walked: tuple[Path, str]) -> None:
    version = client.get_model_version_by_alias("skin-lesions", "champion")
    assert int(version.version) == 1 and "challenger" not in version.aliases
    assert version.run_id == runs(client)["walkthrough"].info.run_id
    assert 'Version 1 of "skin-lesions" is champion' in walked[1]


def test_a_new_process_gives_the_logits_of_the_training_to_the_last_bit(walked: tuple[Path, str]) -> None:
    found = json.loads((walked[0] / "logits.json").read_text(encoding="utf-8"))
    with (walked[0] / "labels.csv").open(encoding="utf-8") as file:
        listed = sum(row["split"] == "test" for row in csv.DictReader(file))
    assert found["bit_equal"] is True and found["same_order"] is True and found["images"] == listed > 16
    assert found["largest_difference_from_files"] < 1e-3


def test_jpeg_and_dicom_of_one_photograph_get_the_same_answer(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    jpeg, dicom = answer(folder / "jpeg.json"), answer(folder / "dicom.json")
    assert (folder / "photograph.dcm").read_bytes()[128:132] == b"DICM"
    assert jpeg["status"] == "ok" and jpeg["error"] is None and jpeg == dicom
    assert set(jpeg["probabilities"]) == {"benign", "malignant"}
    assert sum(jpeg["calibrated"].values()) == pytest.approx(1)


def test_what_is_served_is_what_was_trained(walked: tuple[Path, str]) -> None:
    folder, _ = walked
    trained = FPTPredictions.load(folder / "run" / "test_predictions.json")
    first = int(np.flatnonzero(trained.labels == trained.classes.index("malignant"))[0])
    served = answer(folder / "jpeg.json")["logits"]
    assert [served[name] for name in trained.classes] == pytest.approx(trained.logits[first].tolist(), abs=1e-3)


def test_the_evaluation_repeats_the_training_s_predictions(walked: tuple[Path, str]) -> None:
    trained, again = (
        FPTPredictions.load(walked[0] / "run" / where / "test_predictions.json") for where in (".", "evaluation")
    )
    assert again.keys == trained.keys and np.array_equal(again.logits, trained.logits)


def test_the_report_needs_nothing_but_itself(walked: tuple[Path, str]) -> None:
    page = (walked[0] / "run" / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "</html>" in page and "AUC" in page
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']*""", page) == []
    assert re.findall(r"""@import|url\(\s*["']?(?!data:|#)""", page) == []


def test_no_server_is_left(walked: tuple[Path, str]) -> None:
    ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(walked[0]) not in ps.stdout
