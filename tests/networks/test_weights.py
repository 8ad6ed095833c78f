"""Weights of the backbone from files: which are read, which are refused, and that nothing in them runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT

Make = Callable[..., FrozenViT]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Weights of a ViT-Tiny of two blocks with head, recognisable by their seed."""
    torch.manual_seed(5)
    model = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def frozen(weights: Path | str, depth: int = 2, name: str = "vit_tiny_patch16_224") -> FrozenViT:
    return FrozenViT(name, str(weights), 64, blocks=(depth - 1,), create_kwargs={"depth": depth})


def safetensors(state: dict[str, Tensor], path: Path) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def torch_file(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def torch_checkpoint(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        path.with_suffix(".pth"),
    )
    return path.with_suffix(".pth")


@pytest.mark.parametrize("write", [safetensors, torch_file, torch_checkpoint])
def test_a_file_gives_the_weights_in_it(write: Any, trained: dict[str, Tensor], tmp_path: Path) -> None:
    vit = frozen(write(trained, tmp_path / "weights")).vit

    own = vit.state_dict()
    assert all(torch.equal(own[name], trained[name]) for name in own if name != "pos_embed")
    assert sorted(set(trained) - set(own)) == ["head.bias", "head.weight"]


def transformers_names(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """timm -> Hugging Face transformers, written down independently of the package."""
    block = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    outside = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("head."):
            renamed[f"classifier.{name.removeprefix('head.')}"] = tensor
        elif name in outside:
            renamed[prefix + outside[name]] = tensor
        else:
            _, number, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            stem = f"{prefix}encoder.layer.{number}."
            if part == "attn.qkv":
                for which, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    renamed[f"{stem}attention.attention.{which}.{kind}"] = piece.clone()
            else:
                renamed[f"{stem}{block[part]}.{kind}"] = tensor
    return renamed


@pytest.mark.parametrize("prefix", ["", "vit."], ids=["ViTModel", "ViTForImageClassification"])
def test_weights_under_transformers_names_are_the_same_weights(
    prefix: str, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    theirs = frozen(safetensors(transformers_names(trained, prefix), tmp_path / "hf"))
    ours = frozen(safetensors(trained, tmp_path / "timm"))

    assert theirs.fingerprint == ours.fingerprint


def of_another_width() -> dict[str, Tensor]:
    return timm.create_model("vit_small_patch16_224", depth=2).state_dict()


def of_another_depth() -> dict[str, Tensor]:
    return timm.create_model("vit_tiny_patch16_224", depth=1).state_dict()


def of_more_blocks() -> dict[str, Tensor]:
    return timm.create_model("vit_tiny_patch16_224", depth=3).state_dict()


def of_a_resnet() -> dict[str, Tensor]:
    return timm.create_model("resnet18").state_dict()


def of_an_adapter() -> dict[str, Tensor]:
    config = FPTConfig(
        backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, backbone_kwargs={"depth": 2}
    )
    return FPTClassifier(config).state_dict()


def of_nothing() -> dict[str, Tensor]:
    return {"x": torch.zeros(1)}


WRONG = [of_another_width, of_another_depth, of_more_blocks, of_a_resnet, of_an_adapter, of_nothing]


@pytest.mark.parametrize("other", WRONG, ids=lambda make: make.__name__.replace("_", " "))
def test_weights_of_another_model_are_refused(other: Callable[[], dict[str, Tensor]], tmp_path: Path) -> None:
    path = safetensors(other(), tmp_path / "wrong")

    with pytest.raises(
        ValueError,
        match=r'do not fit backbone "vit_tiny_patch16_224": \d+ tensors are .* give the weights of this model',
    ):
        frozen(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'"absent\.safetensors": there is no such file; give a .safetensors or .pth file'
    ):
        frozen("absent.safetensors")


class Runs:
    """Unpickling this would create a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("where", ["alone", "inside a torch file"])
def test_code_in_a_pickle_is_refused_and_does_not_run(where: str, trained: dict[str, Tensor], tmp_path: Path) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "weights.pth"
    if where == "alone":
        path.write_bytes(pickle.dumps(Runs(str(mark))))
    else:
        torch.save({"state_dict": trained, "more": Runs(str(mark))}, path)

    with pytest.raises(
        ValueError, match=r'"weights.pth" cannot be read as safetensors or as a torch file of plain tensors'
    ):
        frozen(path)

    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"version https://git-lfs.github.com/spec/v1\n"],
    ids=["empty", "zeros", "LFS pointer"],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_broken_file_is_refused_by_name(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r'"broken\.\w+" cannot be read'):
        frozen(path)


@pytest.mark.parametrize("name", ["vit_huge_of_mine", "vit_tiny_patch16_224.no_such_tag"], ids=["model", "tag"])
def test_a_name_timm_does_not_know_is_refused_with_the_way_to_find_names(name: str) -> None:
    with pytest.raises(ValueError, match=rf'Backbone "{name}" is not known to timm .*list_models'):
        frozen_or_pretrained = FrozenViT(name, "timm" if "." in name else None, 64)
        del frozen_or_pretrained


def test_weights_that_cannot_be_fetched_are_asked_for_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)

    with pytest.raises(
        RuntimeError, match=r"could not be fetched \(ConnectionError\).*give their path as backbone_weights"
    ):
        FrozenViT("vit_tiny_patch16_224", "timm", 64)


def test_pretrained_weights_come_from_a_file_without_change(real_weights: Path) -> None:
    path = next(real_weights.glob("vit_tiny_patch16_224_*.safetensors"))
    stored = load_file(path)

    vit = FrozenViT("vit_tiny_patch16_224", str(path), 224, blocks=(11,)).vit

    own = vit.state_dict()
    assert all(torch.equal(tensor, stored[name].float()) for name, tensor in own.items())


@pytest.mark.parametrize("rule", ["fpt", "timm"])
def test_pretrained_features_fit_float16_and_differ_between_images(rule: Any, real_weights: Path) -> None:
    path = next(real_weights.glob("vit_tiny_patch16_224_*.safetensors"))
    vit = FrozenViT("vit_tiny_patch16_224", str(path), 128, positions=rule)
    ramp = torch.linspace(-1, 1, 128).expand(3, 128, 128)
    images = torch.stack([ramp, ramp.mT, torch.full_like(ramp, 0.3)])

    features = vit(images).features

    assert features.abs().max() < 100
    assert (features[0] - features[1]).abs().mean() > 0.1
    torch.testing.assert_close(features.half().float(), features, rtol=1e-3, atol=1e-4)
