"""Files of torch itself: ``torch.export`` (.pt2) and TorchScript (.ts).

Both note lines of source code and folders of this machine for their error texts; these are taken out.

TorchScript is recorded as ``monai.bundle ckpt_export`` records the network (``FPTClassifier.__prepare_scriptable__``): traced, for the tap of the
backbone is Python. torch calls TorchScript deprecated; it is here for runtimes that read nothing else.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_fpt.export.agreement import FileAnswers
from monai_fpt.export.facts import FACTS_KEY
from monai_fpt.export.network import FPTDeployedNetwork, exported_program

__all__ = ["open_program", "open_script", "write_program", "write_script"]


def write_program(deployed: FPTDeployedNetwork, facts: Mapping[str, Any], path: Path) -> None:
    """Write what ``torch.export.load`` reads; the facts are the extra file ``monai_fpt``."""
    with open(path, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        torch.export.save(exported_program(deployed), file, extra_files={FACTS_KEY: json.dumps(facts)})


def open_program(path: Path) -> FileAnswers:
    """Load and make callable."""
    with open(path, "rb") as file:
        program = torch.export.load(file).module()

    @torch.no_grad()
    def ask(images: Tensor) -> Mapping[str, Tensor]:
        answers: Mapping[str, Tensor] = program(images)
        return answers

    return ask


def write_script(deployed: FPTDeployedNetwork, facts: Mapping[str, Any], path: Path) -> None:
    """Write what ``torch.jit.load`` reads; the facts are the extra file ``monai_fpt``."""
    example = torch.zeros(2, 3, deployed.image_size, deployed.image_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself, and about sizes that are constants
        traced = torch.jit.trace(deployed, example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        written = io.BytesIO()
        torch.jit.save(traced, written, _extra_files={FACTS_KEY: json.dumps(facts)})
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))


def open_script(path: Path) -> FileAnswers:
    """Load and make callable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(str(path))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def ask(images: Tensor) -> Mapping[str, Tensor]:
        answers: Mapping[str, Tensor] = script(images)
        return answers

    return ask
