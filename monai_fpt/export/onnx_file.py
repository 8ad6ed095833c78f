"""ONNX: translated from the ``torch.export`` program, checked by ``onnx``, asked by onnxruntime on the CPU.

Decisions:

- Opset 18 is the lowest that has an antialiased Resize, which the side image needs; what reads it reads newer ones too.
- One file. An ONNX file is a protobuf and holds less than 2 GiB; weights in a second file could be lost or changed alone, so a larger network
  is refused and has ``torch_export``.
- The translator notes lines of source code and folders of this machine in every node; they are taken out.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_fpt.export.agreement import FileAnswers
from monai_fpt.export.facts import FACTS_KEY
from monai_fpt.export.network import OUTPUTS, FPTDeployedNetwork, exported_program

__all__ = ["OPSET", "open_onnx", "require_onnx", "write_onnx"]

OPSET = 18
_MOST_BYTES = 2**31 - 2**24  # of weights; the rest is for the graph
_BATCH = "batch"


def require_onnx() -> None:
    """Look for the optional packages before anything is computed.

    Raises:
        ImportError: one is missing; the text says how to get it.
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):
        _library(name)


def write_onnx(deployed: FPTDeployedNetwork, facts: Mapping[str, Any], path: Path) -> None:
    """Write what onnxruntime reads; the facts are the model's metadata ``monai_fpt``.

    Raises:
        ValueError: the network is too large for one ONNX file.
    """
    num_bytes = sum(t.numel() * t.element_size() for t in (*deployed.parameters(), *deployed.buffers()))
    if num_bytes > _MOST_BYTES:
        raise ValueError(
            f'The network has {num_bytes / 2**30:.1f} GiB of weights and one ONNX file holds less than 2; export it with format="torch_export".'
        )
    onnx = _library("onnx")
    program = exported_program(deployed)
    with _calm():
        translated = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=list(OUTPUTS), opset_version=OPSET, verbose=False
        )
    assert translated is not None
    model = translated.model_proto
    _tidy(model)
    model.doc_string = f"{', '.join(facts['classes'])} ({facts['task']}): {facts['input']['image']['content']}"
    onnx.helper.set_model_props(model, {FACTS_KEY: json.dumps(facts)})
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    path.write_bytes(content)


def open_onnx(path: Path) -> FileAnswers:
    """Load with onnxruntime on the CPU and make callable."""
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def ask(images: Tensor) -> Mapping[str, Tensor]:
        answers = session.run(list(OUTPUTS), {"image": images.numpy()})
        return {name: torch.from_numpy(answer) for name, answer in zip(OUTPUTS, answers, strict=True)}

    return ask


def _tidy(model: Any) -> None:
    """Name the free axis, and leave out what the translator noted for itself."""
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == free:
                dim.dim_param = _BATCH
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Keep what the translator says about itself from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'An ONNX export needs {name}; install what it needs with pip install "monai-fpt[export]".'
        ) from error
