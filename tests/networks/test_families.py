"""The tap against timm itself, family by family.

The independent source is timm's own eager attention: the same trunk with its fused attention switched off computes ``q @ k^T``, softmax and
``attn @ v`` step by step, and a torch-function mode of this file reads k, the probabilities and v from those products.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from monai_fpt.networks import FrozenViT
from monai_fpt.networks import backbone as backbone_module

FAMILIES = {
    "augreg": "vit_tiny_patch16_224",
    "original": "vit_base_patch16_384.orig_in21k_ft_in1k",
    "deit3": "deit3_small_patch16_224",
    "deit distilled": "deit_tiny_distilled_patch16_224",
    "dino": "vit_small_patch16_224.dino",
    "dinov2": "vit_small_patch14_dinov2",
    "dinov2 registers": "vit_small_patch14_reg4_dinov2",
    "dinov3": "vit_small_patch16_dinov3",
    "eva02 tiny": "eva02_tiny_patch14_224",
    "eva02 base": "eva02_base_patch14_224",
    "siglip2": "vit_base_patch16_siglip_224.v2_webli",
    "beit": "beit_base_patch16_224",
    "beitv2": "beitv2_base_patch16_224",
    "mae": "vit_base_patch16_224.mae",
    "clip": "vit_base_patch16_clip_224",
    "rope": "vit_small_patch16_rope_224",
    "relative positions": "vit_relpos_small_patch16_224",
    "naflex": "naflexvit_base_patch16_gap",
    "aimv2": "aimv2_large_patch14_224",
    "perception encoder": "vit_pe_core_tiny_patch16_384",
}


class EagerAttention(TorchFunctionMode):
    """Collects the two products of each block's attention: (q, k^T) and (probabilities, v)."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("matmul", "__matmul__") and args[0].ndim == 4:
            self.products.append((args[0], args[1]))
        return func(*args, **(kwargs or {}))


def eager_keys_probabilities_values(trunk: Any, image: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    trunk = copy.deepcopy(trunk)
    for module in trunk.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    with torch.no_grad(), EagerAttention() as mode:
        trunk.forward_features(image)
    scores, outputs = mode.products[::2], mode.products[1::2]
    return [(k.transpose(-2, -1), p, v) for (_, k), (p, v) in zip(scores, outputs, strict=True)]


def gathered(tokens: Tensor, indices: Tensor) -> Tensor:
    return torch.stack([torch.stack([tokens[b, h, i] for h, i in enumerate(row)]) for b, row in enumerate(indices)])


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_tap_reads_what_timm_computes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 6 * (14 if "patch14" in name else 16)
    frozen = FrozenViT(name, None, size, blocks=(0, 1), create_kwargs={"depth": 2}).double()
    image = torch.randn(2, 3, size, size, dtype=torch.float64)
    weighed: list[Tensor] = []
    select = backbone_module.select_tokens

    def spy(importance: Tensor, *args: Any) -> Tensor:
        weighed.append(importance)
        return select(importance, *args)

    monkeypatch.setattr(backbone_module, "select_tokens", spy)

    features, indices = frozen(image)

    expected = eager_keys_probabilities_values(frozen.vit, image)
    assert len(weighed) == len(expected) == 2
    for block, (keys, probabilities, values) in enumerate(expected):
        importance = probabilities.mean(dim=2)
        torch.testing.assert_close(weighed[block], importance, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(weighed[block].sum(-1), torch.ones_like(importance[..., 0]))
        best = importance.sort(dim=-1, descending=True)
        torch.testing.assert_close(
            importance.gather(-1, indices[:, block]), best.values[..., : frozen.num_tokens], rtol=1e-9, atol=1e-12
        )
        torch.testing.assert_close(features[:, block, 0], gathered(keys, indices[:, block]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(features[:, block, 1], gathered(values, indices[:, block]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES.keys())
def test_reading_a_block_does_not_change_the_blocks_behind_it(name: str) -> None:
    size = 4 * (14 if "patch14" in name else 16)
    frozen = FrozenViT(name, None, size, blocks=(0, 1), create_kwargs={"depth": 2})
    image = torch.randn(1, 3, size, size)
    explicit = frozen(image).features[:, 1]

    frozen.blocks = (1,)  # block 0 now runs timm's fused attention
    fused = frozen(image).features[:, 0]

    torch.testing.assert_close(explicit, fused, rtol=1e-4, atol=1e-5)


REFUSED = {
    "swin": ("swin_tiny_patch4_window7_224", "within windows"),
    "hiera": ("hiera_tiny_224", "within windows"),
    "sam": ("samvit_base_patch16", "within windows"),
    "convnext": ("convnext_atto", "convolutional, hierarchical or otherwise without one sequence of blocks"),
    "resnet": ("resnet18", "convolutional, hierarchical or otherwise without one sequence of blocks"),
    "resnet before ViT": ("vit_small_r26_s32_224", "puts a convolutional network before its patches"),
    "xcit": ("xcit_nano_12_p16_224", "Xcit"),
    "maxvit": ("maxvit_rmlp_pico_rw_256", "convolutional, hierarchical or otherwise without one sequence of blocks"),
}


@pytest.mark.parametrize(("name", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_global_attention_is_refused_with_the_reason(name: str, why: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError) as refused:
        FrozenViT(name, None, 224)

    message = str(refused.value)
    assert "not a plain ViT" in message
    assert why in message
    assert "choose a plain ViT of timm" in message


@pytest.mark.parametrize("rule", ["timm", "fpt"])
def test_at_its_native_size_either_position_rule_leaves_the_model_alone(rule: Any) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)

    ours = FrozenViT(
        "vit_tiny_patch16_224", None, 224, positions=rule, create_kwargs={"depth": 1}, state=theirs.state_dict()
    )

    torch.testing.assert_close(ours.vit.pos_embed, theirs.pos_embed, rtol=0, atol=0)


def test_timm_s_position_rule_is_timm_s() -> None:
    native = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)
    state = native.state_dict()
    native.set_input_size(img_size=(96, 96))

    ours = FrozenViT("vit_tiny_patch16_224", None, 96, positions="timm", create_kwargs={"depth": 1}, state=state)

    torch.testing.assert_close(ours.vit.pos_embed, native.pos_embed)


def test_relative_positions_are_not_touched_by_the_rule_for_learned_ones() -> None:
    image = torch.randn(1, 3, 96, 96)
    made = [
        FrozenViT("beit_base_patch16_224", None, 96, blocks=(0,), positions=rule, create_kwargs={"depth": 1})
        for rule in ("fpt", "timm")
    ]

    torch.testing.assert_close(made[0](image).features, made[1](image).features, rtol=0, atol=0)
