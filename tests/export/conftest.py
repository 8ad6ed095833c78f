"""Files that are made once for the tests of this room: an ONNX export takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from export_toys import loud_run

from monai_fpt.export import FPTExported, fpt_export


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with large weights."""
    return loud_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="session")
def onnx_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTExported:
    pytest.importorskip("onnxruntime", reason='needs pip install "monai-fpt[export]"')
    pytest.importorskip("onnxscript", reason='needs pip install "monai-fpt[export]"')
    return fpt_export(run, "onnx", tmp_path_factory.mktemp("onnx") / "model.onnx", backbone_licence="mit")


@pytest.fixture(scope="session")
def program_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTExported:
    return fpt_export(run, "torch_export", tmp_path_factory.mktemp("program") / "model.pt2", backbone_licence="mit")


@pytest.fixture(scope="session")
def script_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> FPTExported:
    return fpt_export(run, "torchscript", tmp_path_factory.mktemp("script") / "model.ts", backbone_licence="mit")


@pytest.fixture(params=["onnx", "torch_export", "torchscript"])
def exported(request: pytest.FixtureRequest) -> FPTExported:
    """One file of each format."""
    fixtures = {"onnx": "onnx_file", "torch_export": "program_file", "torchscript": "script_file"}
    made: FPTExported = request.getfixturevalue(fixtures[request.param])
    return made
