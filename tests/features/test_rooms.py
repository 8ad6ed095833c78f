"""Who may know whom (docs/architecture.md): read from the import statements, and tried where monai and mlflow cannot be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from feature_toys import in_process

import monai_fpt

PACKAGE = Path(monai_fpt.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
BASE = {
    "_version",
    "_torchvision",
    "_files",
    "_progress",
    "",
}  # "" is the package itself, which offers the version only
ON_TOP = {"cli", "bundle", "quickstart", "importing", "__main__", "compare", "experiments", "federated", "monailabel"}
MAY_KNOW: dict[str, set[str]] = {
    "networks": set(),
    "features": {"networks"},
    "data": set(),
    "transforms": {"data"},
    "metrics": {"networks"},
    "visualize": {"networks"},
    "handlers": {"networks", "features", "data", "metrics", "transforms"},
    "report": {"networks", "features", "data", "metrics", "transforms", "visualize"},
    "export": {"networks", "features", "data", "metrics", "transforms", "handlers", "registry"},
    "registry": {"networks", "features", "data", "metrics", "transforms", "handlers", "report", "visualize"},
}
MAY_USE = {  # of what is not in the standard library
    "networks": {"torch", "timm"},
    "features": {"torch", "numpy", "safetensors", "tqdm"},
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            if node.module == "monai_fpt":
                yield from (f"monai_fpt.{alias.name}" for alias in node.names if alias.name != "__version__")


def rooms_known_by(path: Path) -> set[str]:
    own = [name.split(".") for name in imported(path) if name.split(".")[0] == "monai_fpt"]
    return {parts[1] if len(parts) > 1 else "" for parts in own} - {room(path)} - BASE


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_knows_only_rooms_below_its_own(path: Path) -> None:
    if room(path) in ON_TOP:
        return
    allowed = MAY_KNOW.get(room(path), set())

    assert rooms_known_by(path) <= allowed


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in MODULES} <= set(MAY_KNOW) | ON_TOP | BASE


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_in_the_package_knows_bundles_tests_or_benchmarks(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & {"bundles", "tests", "benchmarks"}


@pytest.mark.parametrize("name", MAY_USE)
def test_networks_and_features_use_only_what_they_are_allowed_to(name: str) -> None:
    used = {module.split(".")[0] for path in (PACKAGE / name).rglob("*.py") for module in imported(path)}

    assert used - set(sys.stdlib_module_names) - {"__future__", "monai_fpt"} <= MAY_USE[name]


def test_there_are_no_circles_between_rooms() -> None:
    knows: dict[str, set[str]] = {}
    for path in MODULES:
        knows.setdefault(room(path), set()).update(rooms_known_by(path))
    knows = {name: others for name, others in knows.items() if name not in ON_TOP | BASE}
    while knows:
        lowest = [name for name, others in knows.items() if not others & set(knows)]
        assert lowest, f"a circle between {sorted(knows)}"
        for name in lowest:
            del knows[name]


BLOCKED_RUN = textwrap.dedent(
    """
    import importlib.abc, os, sys, tempfile

    class Blocker(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("monai", "mlflow", "ignite"):
                raise ModuleNotFoundError(f"{name} is not installed", name=name)

    for name in list(sys.modules):
        if name.split(".")[0] in ("monai", "mlflow", "ignite", "monai_fpt"):
            del sys.modules[name]
    sys.meta_path.insert(0, Blocker())

    from monai_fpt.features import FeatureDataset, FeatureSpec, FeatureStore, FPTModelCard, extract
    from monai_fpt.networks import FPTClassifier, FPTConfig
    import torch

    torch.set_num_threads(1)
    config = FPTConfig(backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=32, side_size=16, num_tokens=2,
                       backbone_kwargs={"depth": 2})
    network = FPTClassifier(config)
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "a.raw")
        open(image, "wb").write(b"x")
        item = {"image": image, "key": "a.raw", "label": 1}
        store = FeatureStore(os.path.join(folder, "cache"), FeatureSpec.from_network(network))
        extract([item], store, network.backbone, lambda item: torch.rand(3, 32, 32), progress=False)
        found = FeatureDataset([item], store)[0]
        logits = network(torch.rand(1, 3, 16, 16), found["features"][None])
        torch.nn.functional.cross_entropy(logits, torch.tensor([found["label"]])).backward()
        assert network.side.head.weight.grad.any()
    loaded = [name for name in sys.modules if name.split(".")[0] in ("monai", "mlflow", "ignite")]
    assert not loaded, loaded
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_networks_and_features_work_where_monai_and_mlflow_are_hidden() -> None:
    process = in_process(lambda: exec(BLOCKED_RUN, {"__name__": "__main__"}))
    process.join(120)

    assert process.exitcode == 0


@pytest.mark.slow
def test_networks_and_features_work_in_a_fresh_interpreter_without_monai_and_mlflow() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED_RUN], capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr
