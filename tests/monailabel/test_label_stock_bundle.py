"""The bundle without this app: MONAI Label's own ``monaibundle`` app classifies with it as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from label_toys import draw_studies

import monai_fpt
from monai_fpt.registry import FPTPredictor

pytest.importorskip("monailabel.interfaces", reason="needs MONAI Label's own environment, see docs/monailabel.md")

BUNDLE = Path(monai_fpt.__file__).parent.parent / "bundles" / "fpt_classification"


@pytest.mark.slow
def test_the_task_of_the_stock_app_answers_as_the_model_does(toy_model: Path, tmp_path: Path) -> None:
    from monailabel.tasks.infer.bundle import BundleInferTask

    bundle = tmp_path / "model" / "fpt_classification"  # MONAI Label reads the kind of task from the folder's name
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("model.pt", "model.json"):
        (bundle / "models").mkdir(exist_ok=True)
        shutil.copyfile(toy_model / name, bundle / "models" / name)
    image = draw_studies(tmp_path / "studies") / "img00.png"

    task = BundleInferTask(str(bundle), {"zoo_source": "ngc"})
    _, answer = task({"model": "fpt_classification", "image": str(image), "device": "cpu"})

    told = FPTPredictor.from_folder(toy_model).predict([image])[0]
    assert [part["score"] for part in answer["prediction"]] == pytest.approx(told.probabilities, abs=1e-4)
