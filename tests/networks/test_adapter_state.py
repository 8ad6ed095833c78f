"""What is saved of a network, and what refuses to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from monai_fpt.networks import BackboneMismatchError, FPTClassifier, FPTConfig, convert_adapter_state

Tiny = Callable[..., FPTConfig]
Loud = Callable[[FPTConfig], FPTClassifier]


class Host(nn.Module):
    """A user's module with a network somewhere inside."""

    def __init__(self, net: FPTClassifier) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"net": net})
        self.extra = nn.Linear(2, 2)


def strict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    model.load_state_dict(state)


def unwrapped(module: nn.Module) -> nn.Module:
    """ignite and MONAI look through DataParallel, when saving as when loading."""
    return module.module if isinstance(module, nn.DataParallel) else module


def by_ignite(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    checkpoint = pytest.importorskip("ignite.handlers").Checkpoint
    checkpoint.load_objects(to_load={"model": model}, checkpoint={"model": state}, strict=True)


def by_monai(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    pytest.importorskip("monai.networks.utils").copy_model_state(model, state)


LOADERS = {"load_state_dict": strict, "ignite Checkpoint": by_ignite, "monai copy_model_state": by_monai}
WRAPPERS: dict[str, Callable[[FPTClassifier], nn.Module]] = {
    "alone": lambda net: net,
    "nested": Host,
    "DataParallel": lambda net: nn.DataParallel(net),
}


def learned(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_the_state_holds_what_learns_and_the_name_of_the_backbone(wrap: Any, tiny: Tiny) -> None:
    module = wrap(FPTClassifier(tiny()))

    state = module.state_dict()

    identifiers = {name for name in state if name.endswith("backbone_id")}
    assert len(identifiers) == 1
    assert set(state) - identifiers == set(learned(module))


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_state_comes_back_by_every_loader_and_in_every_wrapper(wrap: Any, load: Any, tiny: Tiny, loud: Loud) -> None:
    saved, fresh = wrap(loud(tiny())), wrap(FPTClassifier(tiny()))
    frozen = {n: p.clone() for n, p in fresh.named_parameters() if not p.requires_grad}

    load(fresh, (saved if load is strict else unwrapped(saved)).state_dict())

    expected = learned(saved)
    assert all(torch.equal(value, expected[name]) for name, value in learned(fresh).items())
    assert all(torch.equal(p, frozen[n]) for n, p in fresh.named_parameters() if not p.requires_grad)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_another_backbone_is_refused_with_both_names(wrap: Any, load: Any, tiny: Tiny, loud: Loud) -> None:
    trained = wrap(loud(tiny(backbone="deit_tiny_patch16_224")))
    saved = (trained if load is strict else unwrapped(trained)).state_dict()
    other = FPTClassifier(tiny(backbone_kwargs={"depth": 2, "init_values": 0.1}))
    before = learned(other)

    with pytest.raises(BackboneMismatchError) as refused:
        load(wrap(other), saved)

    assert 'trained on backbone "deit_tiny_patch16_224"' in str(refused.value)
    assert 'the network has "vit_tiny_patch16_224"' in str(refused.value)
    assert other.backbone.fingerprint[:12] in str(refused.value)
    assert all(torch.equal(value, before[name]) for name, value in learned(other).items())


def test_the_same_backbone_with_other_weights_is_refused(tiny: Tiny) -> None:
    model = FPTClassifier(tiny())
    moved = dict(FPTClassifier(tiny(image_size=224, blocks=(1,))).backbone.vit.state_dict())
    moved["cls_token"] = moved["cls_token"] + 1e-6

    with pytest.raises(BackboneMismatchError):
        FPTClassifier(tiny(), backbone_state=moved).load_state_dict(model.state_dict())


def test_the_same_weights_under_another_name_are_accepted(tiny: Tiny) -> None:
    saved = FPTClassifier(tiny(backbone="deit_tiny_patch16_224"))
    assert saved.backbone.fingerprint == FPTClassifier(tiny()).backbone.fingerprint  # equal architecture, equal seed

    FPTClassifier(tiny()).load_state_dict(saved.state_dict())


@pytest.mark.parametrize("gone", ["side.head.bias", "fusion.prompts", "backbone_id"])
def test_a_state_with_a_hole_is_refused(gone: str, tiny: Tiny) -> None:
    state = dict(FPTClassifier(tiny()).state_dict())
    del state[gone]

    with pytest.raises(RuntimeError, match=gone):
        FPTClassifier(tiny()).load_state_dict(state)


def test_a_hole_beside_the_network_is_still_noticed(tiny: Tiny) -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.other_backbone = nn.ModuleDict({"vit": nn.Linear(2, 2)})
            self.net = FPTClassifier(tiny())

    state = {name: value for name, value in Beside().state_dict().items() if not name.startswith("other_backbone")}

    with pytest.raises(RuntimeError, match="other_backbone"):
        Beside().load_state_dict(state)


def test_a_head_of_other_classes_is_refused(tiny: Tiny) -> None:
    with pytest.raises(RuntimeError, match=r"side\.head\.weight"):
        FPTClassifier(tiny(num_classes=5)).load_state_dict(FPTClassifier(tiny()).state_dict())


def test_an_adapter_survives_a_safetensors_file_and_a_plain_torch_file(tiny: Tiny, loud: Loud, tmp_path: Path) -> None:
    model = loud(tiny())
    save_file(model.state_dict(), tmp_path / "adapter.safetensors")
    torch.save(model.state_dict(), tmp_path / "adapter.pt")
    image = torch.rand(1, 3, 64, 64)

    for state in (load_file(tmp_path / "adapter.safetensors"), torch.load(tmp_path / "adapter.pt", weights_only=True)):
        twin = FPTClassifier(tiny()).eval()
        twin.load_state_dict(state)
        with torch.no_grad():
            torch.testing.assert_close(twin(image), model(image), rtol=0, atol=0)


def test_a_long_name_of_a_backbone_is_cut_and_still_readable(tiny: Tiny) -> None:
    model = FPTClassifier(tiny())

    assert bytes(model.backbone_id[32:].tolist()).rstrip(b"\0") == b"vit_tiny_patch16_224"
    assert bytes(model.backbone_id[:32].tolist()).hex() == model.backbone.fingerprint


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"fc.weight": torch.zeros(1)}, '"fc.weight" is no learnable weight of the authors'),
        ({}, "No weights of the authors' FPT or FPT\\+"),
        ({"fusion_module.prompts": torch.zeros(1, 1, 2, 3)}, "No weights of the authors' FPT or FPT\\+"),
        (
            {"fusion_module.prompts": torch.zeros(1, 1, 2, 3), "side_encoder.vit.decoder.weight": torch.zeros(1)},
            "no weight of a plain ViT",
        ),
    ],
    ids=["another network", "empty", "half of it", "another side network"],
)
def test_checkpoints_that_are_not_the_authors_are_refused(state: dict[str, Tensor], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        convert_adapter_state(state)
