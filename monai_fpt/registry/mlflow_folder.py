"""A package as a model in MLflow's own form, which ``mlflow models serve``, ``predict`` and ``pyfunc.load_model`` take.

Decisions:

- Models from code: MLflow stores three lines of Python and runs them; nothing is pickled, so the model also loads with
  ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``.
- MLflow writes down where code and package lay on this machine; both are made relative, and the folder is searched for
  what else could tell.
- Requirements are this package's own, each pinned to the version that is installed here, without the build's suffix.
- MLflow copies a ``uv`` project that lies in the working directory into the model; here it is shown an empty folder.
"""

from __future__ import annotations

import base64
import io
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monai_fpt._version import __version__
from monai_fpt.registry.package import FPTPackage
from monai_fpt.registry.privacy import refuse_private_text
from monai_fpt.registry.store import ARTIFACT

__all__ = ["example_image", "pinned_requirements", "save_mlflow_model", "serving_signature"]

_CODE_FILE = "fpt_served_model.py"
_CODE = '''"""Loaded by MLflow: the model that lies in artifacts/fpt, served by the package monai_fpt."""

from mlflow.models import set_model

from monai_fpt.registry.serving import FPTServedModel

set_model(FPTServedModel())
'''


def save_mlflow_model(package: FPTPackage, folder: str | Path, mlflow_model: Any = None) -> Path:
    """Write a package as an MLflow model.

    Args:
        package: see :func:`~monai_fpt.registry.package_model`.
        folder: new folder.
        mlflow_model: an ``mlflow.models.Model`` that knows the ids of the registry.

    Returns:
        the folder.

    Raises:
        ValueError: the model would tell of folders of this machine.
    """
    import mlflow.pyfunc
    import pandas as pd

    folder = Path(folder)
    with tempfile.TemporaryDirectory(prefix="monai_fpt_") as temporary:
        code, no_project = Path(temporary) / _CODE_FILE, Path(temporary) / "no_project"
        code.write_text(_CODE, encoding="utf-8")
        no_project.mkdir()
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=mlflow_model,
            python_model=str(code),
            artifacts={ARTIFACT: str(package.folder)},
            signature=serving_signature(),
            pip_requirements=pinned_requirements(),
            metadata={"fpt_digest": package.digest, "classes": list(package.card.classes), "task": package.card.task},
            input_example=pd.DataFrame({"image": [example_image()]}),
            uv_project_path=str(no_project),
        )
        _make_relative(folder)
        refuse_private_text(folder, [Path(temporary), package.folder, Path.home(), Path.cwd()])
    return folder


def serving_signature() -> Any:
    """What a request holds and what an answer holds."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Map

    numbers = Map(value_type=DataType.double)
    inputs = [ColSpec(DataType.string, "image"), ColSpec(DataType.double, "frame", required=False)]
    outputs = [
        ColSpec(DataType.string, "status"),
        ColSpec(DataType.string, "error", required=False),
        ColSpec(AnyType(), "predicted"),
        *(ColSpec(numbers, name, required=False) for name in ("probabilities", "calibrated", "logits")),
        ColSpec(Map(value_type=DataType.boolean), "operating_points", required=False),
        ColSpec(DataType.string, "heatmap", required=False),
    ]
    params = [ParamSpec("heatmap", DataType.boolean, False), ParamSpec("heatmap_class", DataType.string, "")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema(params))


def example_image(size: int = 64) -> str:
    """A drawn image, a grey ramp, as a request holds it: base64 of a PNG."""
    ramp = np.tile(np.linspace(0, 255, size, dtype=np.uint8), (size, 1))
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def pinned_requirements() -> list[str]:
    """monai-fpt and what it depends on, in the versions installed here."""
    names = [f"monai-fpt=={__version__}"]
    for line in metadata.requires("monai-fpt") or ():
        requirement, _, marker = line.partition(";")
        if "extra" in marker:
            continue
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name is not None:
            names.append(f"{name[0]}=={metadata.version(name[0]).partition('+')[0]}")
    return names


def _make_relative(folder: Path) -> None:
    from mlflow.models import Model

    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = _CODE_FILE
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(folder / "MLmodel"))
