"""Fusion and side network against the formulas of the papers written out, and what they keep in memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_fpt.features import quantize
from monai_fpt.networks import FPTFusion, FPTPlusFusion, QuantizedFeatures, SideViT

L, P, C, S, H, M = 2, 4, 24, 12, 3, 7
FUSIONS = {"fpt_plus": FPTPlusFusion, "fpt": FPTFusion}


def fusion_of(method: str, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    fusion = FUSIONS[method](L, P, C, S, H, dropout)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return fusion


def attention(queries: Tensor, features: Tensor) -> Tensor:
    """(L, P, C) on (B, L, 2, H, M, D), every index written out."""
    keys, values = features[:, :, 0], features[:, :, 1]
    q = queries.reshape(L, P, H, C // H)
    scores = torch.einsum("lphd,blhmd->blhpm", q, keys) / math.sqrt(C // H)
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("blhpm,blhmd->blphd", weights, values).reshape(-1, L, P, C)


def fpt_plus_formula(w: dict[str, Tensor], features: Tensor) -> Tensor:
    p = w["prompts"]
    centred = p - p.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w["norm.weight"] + w["norm.bias"]
    return (attention(normed, features) + p) @ w["project.weight"].T + w["project.bias"]


def fpt_formula(w: dict[str, Tensor], features: Tensor) -> Tensor:
    p = w["prompts"]
    queries = p @ w["query.weight"].T + w["query.bias"]
    return attention(queries, features) @ w["project.weight"].T + w["project.bias"] + p


FORMULAS = {"fpt_plus": fpt_plus_formula, "fpt": fpt_formula}


@pytest.mark.parametrize("method", FUSIONS)
def test_fusion_is_the_formula_of_the_paper(method: str) -> None:
    fusion = fusion_of(method).double()
    features = torch.randn(3, L, 2, H, M, C // H, dtype=torch.float64)

    expected = FORMULAS[method](fusion.state_dict(), features)

    torch.testing.assert_close(fusion(features).detach(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", FUSIONS)
def test_each_block_asks_its_own_keys(method: str) -> None:
    fusion = fusion_of(method)
    features = torch.randn(1, L, 2, H, M, C // H)
    changed = features.clone()
    changed[:, 1] += 1

    moved = (fusion(features) - fusion(changed)).detach().abs().amax(dim=(0, 2, 3))

    assert moved[0] == 0 < moved[1]


def test_prompts_start_tiny_and_random() -> None:
    prompts = FPTPlusFusion(6, 16, 768, 96, 12, 0.5).prompts

    assert prompts.std().item() == pytest.approx(1e-6, rel=0.02)
    assert prompts.mean().item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("method", FUSIONS)
def test_dropout_drops_single_elements_of_the_fused_prompts_in_training_only(method: str) -> None:
    fusion = fusion_of(method, dropout=0.5)
    features = torch.randn(8, L, 2, H, M, C // H)
    kept = fusion.eval()(features).detach()

    dropped = fusion.train()(features).detach()

    zero = dropped == 0
    assert 0.4 < zero.float().mean() < 0.6
    torch.testing.assert_close(dropped[~zero], 2 * kept[~zero])


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("method", FUSIONS)
def test_stored_features_give_the_same_output_and_gradients_as_their_upcast(method: str, stored: torch.dtype) -> None:
    fusion = fusion_of(method)
    features = torch.randn(3, L, 2, H, M, C // H).to(stored)
    upcast = copy.deepcopy(fusion)

    mixed_output, output = fusion(features), upcast(features.float())
    mixed_output.square().sum().backward()
    output.square().sum().backward()

    torch.testing.assert_close(mixed_output, output)
    for (name, mixed), whole in zip(fusion.named_parameters(), upcast.parameters(), strict=True):
        torch.testing.assert_close(mixed.grad, whole.grad, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", FUSIONS)
def test_quantised_features_fuse_as_their_dequantised_numbers(method: str) -> None:
    fusion, other = fusion_of(method).double(), fusion_of(method).double()
    codes, scales = quantize(torch.randn(3, L, 2, H, M, C // H) * torch.logspace(-2, 2, C // H))
    dequantised = codes.double() * scales.double().unsqueeze(-2)

    quantised, plain = fusion(QuantizedFeatures(codes, scales)), other(dequantised)
    quantised.sum().backward()
    plain.sum().backward()

    torch.testing.assert_close(quantised, plain, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(fusion.prompts.grad, other.prompts.grad, rtol=1e-8, atol=1e-8)


def saved_bytes(compute: Callable[[], Tensor], parameters: list[nn.Parameter]) -> int:
    """Bytes of the different storages autograd keeps, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = compute()
    assert output.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("stored", [torch.float16, torch.float32, torch.int8], ids=str)
@pytest.mark.parametrize("method", FUSIONS)
def test_no_copy_of_keys_and_values_is_kept_for_the_backward_pass(method: str, stored: torch.dtype) -> None:
    fusion = FUSIONS[method](L, P, C, S, H, 0.5, recompute=True).train()
    raw = torch.randn(8, L, 2, H, 400, C // H)
    features: Any = quantize(raw) if stored == torch.int8 else raw.to(stored)
    size = (features.codes if stored == torch.int8 else features).untyped_storage().nbytes()

    kept = saved_bytes(lambda: fusion(features), list(fusion.parameters()))

    prompts = 8 * L * P * (C + S) * 4  # one row of numbers per prompt and image, at each of a few steps
    assert kept < size + 8 * prompts + 8 * L * 2 * C * 4
    assert 8 * prompts + 8 * L * 2 * C * 4 < raw.nbytes / 2  # a copy could not hide in the allowance


class TextbookBlock(nn.Module):
    """A pre-norm block as in any textbook: every row, prompts included, goes through everything."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own = own

    def forward(self, rows: Tensor) -> Tensor:
        attn, dim = self.own.attn, rows.shape[-1]
        q, k, v = F.linear(self.own.norm1(rows), attn.qkv.weight, attn.qkv.bias).split(dim, dim=-1)
        heads = []
        for h in range(attn.num_heads):
            part = slice(h * dim // attn.num_heads, (h + 1) * dim // attn.num_heads)
            weights = torch.softmax(q[..., part] @ k[..., part].mT / math.sqrt(dim // attn.num_heads), dim=-1)
            heads.append(weights @ v[..., part])
        rows = rows + attn.proj(torch.cat(heads, dim=-1))
        return rows + self.own.mlp.fc2(F.gelu(self.own.mlp.fc1(self.own.norm2(rows))))


def textbook_side_vit(side: SideViT, image: Tensor, prompts: Tensor) -> Tensor:
    patch = side.patch_embed["proj"].kernel_size[0]
    patches = F.unfold(image, patch, stride=patch).transpose(1, 2)  # (B, N, 3 * p * p), rows of the picture first
    tokens = patches @ side.patch_embed["proj"].weight.flatten(1).T + side.patch_embed["proj"].bias
    tokens = torch.cat([side.cls_token.expand(len(image), -1, -1), tokens], dim=1) + side.pos_embed
    for index, block in enumerate(side.blocks):
        rows = TextbookBlock(block)(torch.cat([tokens, prompts[:, index]], dim=1))
        tokens = rows[:, : tokens.shape[1]]
    return F.linear(side.norm(tokens)[:, 0], side.head.weight, side.head.bias)


@pytest.fixture
def side() -> SideViT:
    side = SideViT(32, 8, S, L, H, 5, 1e-6)
    with torch.no_grad():
        for parameter in side.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return side.double()


def test_the_side_network_is_a_textbook_vit_that_computes_every_row(side: SideViT) -> None:
    image, prompts = torch.randn(3, 3, 32, 32).double(), torch.randn(3, L, P, S).double()
    textbook = copy.deepcopy(side)

    ours, expected = side(image, prompts), textbook_side_vit(textbook, image, prompts)
    ours.square().sum().backward()
    expected.square().sum().backward()

    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    for (name, own), theirs in zip(side.named_parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(
            own.grad, theirs.grad, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_side_network_computes_only_cls_in_its_last_mlp_and_never_prompts(side: SideViT) -> None:
    rows: list[int] = []
    for block in side.blocks:
        block.mlp.register_forward_pre_hook(lambda _m, args: rows.append(args[0].shape[1]))

    side(torch.randn(1, 3, 32, 32).double(), torch.randn(1, L, P, S).double())

    assert rows == [17, 1]


def test_the_side_network_starts_as_a_vit_does() -> None:
    torch.manual_seed(0)
    side = SideViT(128, 16, 96, 6, 12, 5, 1e-12)

    weights = torch.cat([m.weight.flatten() for m in side.modules() if isinstance(m, nn.Linear | nn.Conv2d)])
    biases = torch.cat([m.bias.flatten() for m in side.modules() if isinstance(m, nn.Linear | nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert side.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert not biases.any()
    assert all(
        bool((m.weight == 1).all() and (m.bias == 0).all()) for m in side.modules() if isinstance(m, nn.LayerNorm)
    )


def test_a_side_image_of_another_size_is_read_with_resampled_positions(side: SideViT) -> None:
    image, prompts = torch.randn(1, 3, 48, 40).double(), torch.randn(1, L, P, S).double()

    tokens = side.embed(image)

    grid = side.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    resized = F.interpolate(grid, scale_factor=(6.1 / 4, 5.1 / 4), mode="bicubic", align_corners=False)
    patches = side.patch_embed["proj"](image)
    torch.testing.assert_close(tokens[:, 1:], (patches + resized).flatten(2).transpose(1, 2))
    assert torch.isfinite(side(image, prompts)).all()
