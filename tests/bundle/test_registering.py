"""``register.json`` takes a run to the registry, as the command does."""

from __future__ import annotations

from pathlib import Path

from bundle_toys import draw_images, tiny_overrides
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow

from monai_fpt.bundle import fpt_bundle_root, run_bundle


def test_a_run_is_registered_by_the_bundle(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    run_bundle("train", tiny_overrides(images, tmp_path / "run") | {"max_epochs": 1})
    store = f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"
    workflow = ConfigWorkflow(
        config_file=str(fpt_bundle_root() / "configs" / "register.json"),
        run_dir=str(tmp_path / "run"),
        name="toy",
        tracking_uri=store,
    )
    workflow.initialize()
    workflow.run()
    version = MlflowClient(store, store).get_model_version_by_alias("toy", "challenger")
    assert version.version == "1" or version.version == 1
