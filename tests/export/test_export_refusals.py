"""A file appears whole and right, or not at all."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from export_toys import loud_run
from PIL import Image
from torch import Tensor

from monai_fpt.data import ImageReadError
from monai_fpt.export import FPTExportError, fpt_export, onnx_file
from monai_fpt.export import export as export_module
from monai_fpt.export.agreement import Questions, require_agreement
from monai_fpt.networks import BackboneMismatchError
from monai_fpt.networks._weights import create_trunk


def broken(change: Any) -> Any:
    """The TorchScript format with files whose answers are changed."""
    real = export_module._FORMATS["torchscript"]

    def opened(path: Path) -> Any:
        ask = real.open(path)
        return lambda images: change(ask(images))

    return real._replace(open=opened)


def shifted(answers: dict[str, Tensor]) -> dict[str, Tensor]:
    logits = answers["logits"] + torch.tensor([1e-3, 0, 0])
    return {"logits": logits, "probabilities": logits.softmax(dim=1)}


WRONG = {
    "another logit": shifted,
    "no number": lambda told: {name: value * float("nan") for name, value in told.items()},
    "images lost": lambda told: {name: value[:1] for name, value in told.items()},
    "probabilities of others": lambda told: told | {"probabilities": told["probabilities"].flip(1)},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_file_that_answers_otherwise_does_not_replace_the_old_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.setitem(export_module._FORMATS, "torchscript", broken(change))
    old = tmp_path / "model.ts"
    old.write_bytes(b"old")

    with pytest.raises(FPTExportError, match="so it was not written"):
        fpt_export(run, "torchscript", old, overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]
    assert old.read_bytes() == b"old"


def test_a_file_that_answers_otherwise_does_not_appear(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(export_module._FORMATS, "torchscript", broken(shifted))

    with pytest.raises(FPTExportError, match="so it was not written"):
        fpt_export(run, "torchscript", tmp_path / "model.ts")

    assert not list(tmp_path.iterdir())


def test_a_file_is_overwritten_only_when_told(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.ts"
    target.write_bytes(b"old")

    with pytest.raises(FileExistsError, match="exists already; give another output"):
        fpt_export(run, "torchscript", target)
    assert target.read_bytes() == b"old"

    made = fpt_export(run, "torchscript", target, overwrite=True)
    assert made.num_bytes == target.stat().st_size > 1e6


def test_real_images_are_compared_too(run: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in "ab"]
    for number, file in enumerate(files):
        Image.effect_noise((90, 70), 40 + number).convert("RGB").save(file)

    made = fpt_export(run, "torchscript", tmp_path / "model.ts", images=files)

    assert made.agreement.num_images == 8 + 2
    assert made.agreement.difference < 1e-4
    assert "on 10 images" in str(made) and "probabilities of nevus, melanoma, keratosis" in str(made)


def test_an_image_that_cannot_be_read_leaves_no_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")

    with pytest.raises(ImageReadError):
        fpt_export(run, "torchscript", tmp_path / "model.ts", images=[tmp_path / "a.png"])

    assert not (tmp_path / "model.ts").exists()


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    run = loud_run(tmp_path / "run")
    trunk = create_trunk("vit_tiny_patch16_224", None, {"depth": 2})
    save_file({name: value + 0.01 for name, value in trunk.state_dict().items()}, tmp_path / "other.safetensors")

    with pytest.raises(BackboneMismatchError):
        fpt_export(run, "torchscript", backbone_weights=tmp_path / "other.safetensors")

    assert not (run / "model.ts").exists()


def test_a_format_that_is_not_there_is_named_with_those_that_are(run: Path) -> None:
    with pytest.raises(ValueError, match="format='tensorrt' is not one of 'onnx', 'torch_export', 'torchscript'"):
        fpt_export(run, "tensorrt")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_without_its_packages_onnx_says_how_to_get_them(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip("onnxscript", reason='needs pip install "monai-fpt[export]"')
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ImportError, match=rf'needs {name}; .* pip install "monai-fpt\[export\]"'):
        fpt_export(run, "onnx")


def test_a_network_too_large_for_one_onnx_file_is_sent_to_another_format(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason='needs pip install "monai-fpt[export]"')
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", 10**6)

    with pytest.raises(ValueError, match='one ONNX file holds less than 2; export it with format="torch_export"'):
        fpt_export(run, "onnx")

    assert not (run / "model.onnx").exists()


class Stepping:
    """A model, or a file, that jumps by 0.01 where an image's mean passes a threshold, as if a token were exchanged for another."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.card = SimpleNamespace(
            task="multiclass", normalization=lambda mean, std: {"mean": [0.0] * 3, "std": [1.0] * 3}
        )
        self.network = SimpleNamespace(backbone=SimpleNamespace(mean=None, std=None))

    def logits(self, images: Tensor) -> Tensor:
        above = images.double().mean(dim=(1, 2, 3)) > self.threshold
        return torch.stack([0.01 * above, torch.zeros(len(images))], dim=1).float()

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.logits(images)
        return {"logits": logits, "probabilities": logits.softmax(dim=1)}


def close_to_a_half(excess: float) -> Questions:
    """A certain image and one whose mean passes a half by ``excess``; four pixels, so that noise of 1e-6 moves the mean by 3e-7."""
    images = torch.stack([torch.full((3, 2, 2), 0.2), torch.full((3, 2, 2), 0.5 + excess)])
    return Questions(images, Stepping(0.5).logits(images))


def test_an_image_whose_tokens_rounding_chooses_is_counted_and_not_held_against_the_file() -> None:
    found = require_agreement(Stepping(0.5 + 3e-7), close_to_a_half(2e-7), Stepping(0.5))  # type: ignore[arg-type]

    assert found == (2, 1, 0.0)


def test_an_image_on_which_the_model_is_certain_is_held_against_the_file() -> None:
    with pytest.raises(FPTExportError, match=r"differ from the model's by 0\.01, more than 0\.0001"):
        require_agreement(Stepping(0.5 + 3e-4), close_to_a_half(2e-4), Stepping(0.5))  # type: ignore[arg-type]
