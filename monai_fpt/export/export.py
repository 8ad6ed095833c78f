"""fpt_export: a trained run -> one file that answers image -> logits and probabilities, backbone inside, any number of images.

Decisions:

- A file appears only after it was loaded again and answered as the model does, within 1e-4; else none does, and one that was there stays.
- What is there already is not overwritten, unless told.
- float32 on any device. 16-bit and 8-bit files, TensorRT engines and the like are made from the ONNX file by the tools of the runtime, whose numbers
  must then be looked at on data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_fpt._files import whole_file
from monai_fpt.export.agreement import FileAnswers, FPTAgreement, ask_model, require_agreement
from monai_fpt.export.facts import export_facts
from monai_fpt.export.network import FPTDeployedNetwork
from monai_fpt.export.onnx_file import open_onnx, require_onnx, write_onnx
from monai_fpt.export.torch_files import open_program, open_script, write_program, write_script
from monai_fpt.registry.predictor import FPTPredictor

__all__ = ["FPTExported", "fpt_export"]


class _Format(NamedTuple):
    suffix: str
    write: Callable[[FPTDeployedNetwork, Mapping[str, Any], Path], None]
    open: Callable[[Path], FileAnswers]
    require: Callable[[], None] = lambda: None


_FORMATS = {
    "onnx": _Format(".onnx", write_onnx, open_onnx, require_onnx),
    "torch_export": _Format(".pt2", write_program, open_program),
    "torchscript": _Format(".ts", write_script, open_script),
}


@dataclasses.dataclass(frozen=True)
class FPTExported:
    """A file that was written.

    Attributes:
        path: where it is.
        format: ``"onnx"``, ``"torch_export"`` or ``"torchscript"``.
        num_bytes: its size.
        agreement: with the model, on drawn and given images, each in batches of 1, 2 and 5.
        facts: what stands in it.
    """

    path: Path
    format: str
    num_bytes: int
    agreement: FPTAgreement
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        """Lines for people."""
        size, agreement = self.facts["image_size"], self.agreement
        undecided = f" ({agreement.num_undecided} more hang on rounding)" if agreement.num_undecided else ""
        return (
            f"{self.path}: {self.format}, {self.num_bytes / 1e6:.1f} MB; answers as the model does within {agreement.difference:.1e} on "
            f"{agreement.num_images - agreement.num_undecided} images{undecided}\n"
            f"in: image, float32 (batch, 3, {size}, {size}) in [0, 1]; out: logits, probabilities of {', '.join(self.facts['classes'])}\n"
            f"licence of the backbone inside: {self.facts['backbone']['licence']}"
        )


def fpt_export(
    run_dir: str | Path,
    format: str = "onnx",
    output: str | Path | None = None,
    *,
    images: Sequence[str | Path] = (),
    backbone_weights: str | Path | None = None,
    backbone_licence: str | None = None,
    overwrite: bool = False,
) -> FPTExported:
    """Write a trained model as one file that needs neither this package nor the run.

    Args:
        run_dir: a run's folder, or a package of the registry.
        format: ``"onnx"`` (for onnxruntime and others), ``"torch_export"`` (``torch.export.load``) or ``"torchscript"`` (``torch.jit.load``).
        output: the file; by default ``model.onnx``, ``model.pt2`` or ``model.ts`` in ``run_dir``.
        images: image files to compare on, besides drawn images.
        backbone_weights: where the backbone's weights lie, if not where the training had them.
        backbone_licence: of the backbone's weights, which will be in the file, where timm states none.
        overwrite: replace a file that is there.

    Raises:
        ValueError: an unknown format, or a network too large for one ONNX file.
        ImportError: ``"onnx"`` without the packages of the extra ``export``.
        FileExistsError: ``output`` is there already.
        FileNotFoundError: no model is there, or its backbone is not.
        BackboneMismatchError: the backbone found is another than that of the training.
        ImageReadError: one of ``images`` cannot be read.
        FPTExportError: the file would answer otherwise than the model; none was written.
    """
    if format not in _FORMATS:
        raise ValueError(f"format={format!r} is not one of {', '.join(map(repr, _FORMATS))}.")
    chosen, run = _FORMATS[format], Path(run_dir)
    target = Path(output) if output is not None else run / f"model{chosen.suffix}"
    if target.is_dir() or (target.exists() and not overwrite):
        raise FileExistsError(f'"{target}" exists already; give another output, or overwrite it with overwrite=true.')
    chosen.require()
    predictor = FPTPredictor.from_folder(run, backbone_weights)
    questions = ask_model(predictor, images)
    card, backbone = predictor.card, predictor.network.backbone
    deployed = FPTDeployedNetwork(predictor.network, **card.normalization(backbone.mean, backbone.std), task=card.task)
    facts = export_facts(predictor, run, backbone_licence)
    with whole_file(target) as beside:
        chosen.write(deployed, facts, beside)
        agreement = require_agreement(chosen.open(beside), questions, predictor)
    return FPTExported(
        path=target,
        format=format,
        num_bytes=target.stat().st_size,
        agreement=agreement,
        facts=facts,
    )
