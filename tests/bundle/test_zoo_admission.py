"""The model zoo's admission checks, restated through ``monai.bundle``'s own calls, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from bundle_toys import tiny_overrides
from jsonschema import validate
from monai.bundle import ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties

from monai_fpt.bundle import fpt_bundle_root

TENSOR = {"type": "object", "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"]}
SCHEMA = {  # what the zoo requires of metadata.json, in our words
    "type": "object",
    "required": [
        *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
        *("task", "description", "authors", "copyright", "network_data_format"),
    ],
    "properties": {
        **{
            k: {"type": "string"}
            for k in ("schema", "version", "monai_version", "task", "description", "authors", "data_source")
        },
        **{k: {"type": "object"} for k in ("changelog", "required_packages_version", "eval_metrics")},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {k: {"type": "object", "additionalProperties": TENSOR} for k in ("inputs", "outputs")},
        },
    },
}


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    """A copy of the bundle with a trained model in it, as the zoo would hold one."""
    root = tmp_path / "fpt_classification"
    shutil.copytree(fpt_bundle_root(), root)
    (root / "models").mkdir(exist_ok=True)
    for name in ("model.pt", "model.json"):
        shutil.copy(trained / name, root / "models" / name)
    meta = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    meta["network_data_format"]["inputs"]["image"]["spatial_shape"] = [64, 64]
    (root / "configs" / "metadata.json").write_text(json.dumps(meta), encoding="utf-8")
    return root


def test_the_files_the_zoo_asks_for_are_there() -> None:
    root = fpt_bundle_root()
    for name in (
        "LICENSE",
        "docs/README.md",
        *(
            f"configs/{c}"
            for c in (
                "metadata.json",
                "train.json",
                "inference.json",
                "evaluate.json",
                "extract.json",
                "multi_gpu_extract.json",
                "multi_gpu_train.json",
                "logging.conf",
            )
        ),
    ):
        assert (root / name).is_file(), name
    assert all(path.stat().st_size < 25 * 2**20 for path in root.rglob("*") if path.is_file())
    assert not list(root.rglob("*.py"))


def test_metadata_has_what_the_zoo_requires(tmp_path: Path) -> None:
    root = fpt_bundle_root()
    meta = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    validate(meta, SCHEMA)
    assert meta["version"] in meta["changelog"]
    assert meta["name"]
    assert "pred" in meta["network_data_format"]["outputs"]
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    verify_metadata(meta_file=str(root / "configs" / "metadata.json"), filepath=str(tmp_path / "schema.json"))


@pytest.mark.parametrize(
    "name",
    ["train.json", "inference.json", "evaluate.json", "extract.json", "multi_gpu_extract.json", "multi_gpu_train.json"],
)
def test_configurations_hold_no_personal_path_and_only_our_dotted_targets(name: str) -> None:
    text = (fpt_bundle_root() / "configs" / name).read_text(encoding="utf-8")
    config = json.loads(text)
    assert config.get("bundle_root", ".") == "."
    assert "/home/" not in text and "/root/" not in text
    targets = [line.split('"')[3] for line in text.splitlines() if '"_target_"' in line]
    assert all("." in t or not t.startswith(("FPT", "RandFPT")) for t in targets)


def test_all_properties_of_a_training_resolve(images: Path, tmp_path: Path) -> None:
    root = fpt_bundle_root()
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "train.json"),
        workflow_type="train",
        **tiny_overrides(images, tmp_path / "run"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    missing = [
        name for name in TrainProperties if name not in ("network_def",) and getattr(workflow, name, None) is None
    ]
    assert missing in ([], ["train_dataset_data"]), missing


@pytest.mark.parametrize("name", ["inference.json", "evaluate.json"])
def test_all_properties_of_an_inference_resolve(trained: Path, images: Path, name: str) -> None:
    root = fpt_bundle_root()
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / name),
        workflow_type="infer",
        run_dir=str(trained),
        dataset_dir=str(images),
        device="cpu",
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    required = [name for name, prop in InferProperties.items() if prop["required"]]
    assert all(getattr(workflow, name) is not None for name in required)


def test_the_network_keeps_its_promised_input_and_output(bundle: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
    )


@pytest.mark.parametrize("use_trace", [False, True], ids=["script", "trace"])
def test_the_checkpoint_exports_to_torchscript(bundle: Path, use_trace: bool, tmp_path: Path) -> None:
    target = tmp_path / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(target),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        use_trace=use_trace,
        input_shape=[1, 3, 64, 64],
        bundle_root=str(bundle),
    )
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"), workflow_type="infer", bundle_root=str(bundle)
    )
    workflow.initialize()
    network = workflow.network_def.eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    image = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(str(target))(image), network(image), atol=1e-5)
