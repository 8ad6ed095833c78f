"""What a frozen backbone promises: sizes, choices, and that it never learns, never wakes and never works for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from monai_fpt.networks import FPTClassifier, FPTConfig, FrozenViT, num_kept_tokens
from monai_fpt.networks import backbone as backbone_module
from monai_fpt.networks import importance as importance_module


def tiny_vit(name: str = "vit_tiny_patch16_224", depth: int = 2, **kwargs: Any) -> FrozenViT:
    options: dict[str, Any] = {"image_size": 64, "token_ratio": 0.4, "create_kwargs": {"depth": depth}} | kwargs
    return FrozenViT(name, None, **options)


def test_the_last_tapped_block_is_left_after_its_keys_and_values() -> None:
    frozen = tiny_vit(depth=4, blocks=(1, 2))
    calls: list[str] = []
    for name, module in frozen.vit.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))

    frozen(torch.randn(2, 3, 64, 64))

    assert calls.count("blocks.1.mlp") == 1
    assert calls.count("blocks.2.attn.qkv") == 1
    assert not {"blocks.2.attn.proj", "blocks.2.mlp", "blocks.2", "norm", "blocks.3"} & set(calls)


def test_blocks_behind_the_last_tapped_one_are_not_even_kept() -> None:
    assert len(tiny_vit(depth=4, blocks=(0, 2)).vit.blocks) == 3


def test_in_the_last_tapped_block_the_output_of_the_attention_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = tiny_vit(blocks=(1,))
    calls = []
    monkeypatch.setattr(backbone_module, "attend_and_weigh", lambda *_: calls.append(1))

    frozen(torch.randn(1, 3, 64, 64))

    assert not calls


@pytest.mark.parametrize(
    ("depth", "blocks", "tapped"),
    [(4, None, (2, 3)), (5, None, (2, 3, 4)), (4, (3, 0, 3), (0, 3))],
    ids=["upper half", "upper half of an odd depth", "given in any order, once each"],
)
def test_tapped_blocks(depth: int, blocks: Any, tapped: tuple[int, ...]) -> None:
    assert tiny_vit(depth=depth, blocks=blocks).blocks == tapped


@pytest.mark.parametrize("blocks", [(2,), (-1,), ()], ids=["too deep", "negative", "none"])
def test_blocks_that_are_not_there_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not fit a backbone of 2 blocks; give indices from 0 to 1"):
        tiny_vit(blocks=blocks)


def test_patches_of_14_pixels_do_not_divide_512_and_the_message_names_504_and_518() -> None:
    with pytest.raises(ValueError, match=r"image_size=512 .* patch size of 14; use 504 or 518"):
        tiny_vit("vit_small_patch14_dinov2", image_size=512)


def test_an_image_below_one_patch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size=8 .* use 16 or 32"):
        tiny_vit(image_size=8)


@pytest.mark.parametrize("shape", [(1, 3, 96, 96), (1, 3, 64, 96), (1, 1, 64, 64), (3, 64, 64)], ids=str)
def test_an_image_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"reads images of shape \(B, 3, 64, 64\), got .* image_size=64"):
        tiny_vit()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("candidates", "ratio", "fixed", "kept"),
    [
        (1025, 0.2, None, 205),
        (100, 0.29, None, 29),
        (100, 0.57, None, 57),
        (145, 0.2, None, 29),
        (10, 1.0, None, 10),
        (1025, 0.2, 64, 64),
        (9, 0.2, None, 1),
    ],
    ids=["paper at 512 px", "0.29 of 100", "0.57 of 100", "goldens", "all", "a fixed number wins", "rounded down"],
)
def test_how_many_tokens_are_kept(candidates: int, ratio: float, fixed: int | None, kept: int) -> None:
    assert num_kept_tokens(candidates, ratio, fixed) == kept


def test_a_ratio_that_keeps_none_is_refused_with_the_least_that_keeps_one() -> None:
    with pytest.raises(
        ValueError, match=r"token_ratio=0.05 keeps none of 17 tokens; raise token_ratio to at least 0.0588"
    ):
        tiny_vit(token_ratio=0.05)


def test_more_tokens_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"18 tokens were asked for but the backbone has only 17"):
        tiny_vit(token_ratio=None, num_tokens=18)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"], ids=["CLS", "CLS and registers"])
def test_dropped_prefix_tokens_are_never_kept(name: str) -> None:
    frozen = tiny_vit(name, prefix_tokens="drop", token_ratio=1.0)

    indices = frozen(torch.randn(1, 3, 64, 64)).indices

    prefix = frozen.num_prefix_tokens
    assert sorted(indices[0, 0, 0].tolist()) == list(range(prefix, prefix + 16))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"], ids=["CLS", "CLS and registers"])
def test_kept_prefix_tokens_stand_in_front_of_every_head(name: str) -> None:
    frozen = tiny_vit(name, prefix_tokens="keep", token_ratio=None, num_tokens=7)

    indices = frozen(torch.randn(2, 3, 64, 64)).indices

    prefix = frozen.num_prefix_tokens
    assert bool((indices[..., :prefix].sort(-1).values == torch.arange(prefix)).all())
    assert bool((indices[..., prefix:] >= prefix).all())


def test_keeping_more_prefix_tokens_than_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="prefix"):
        tiny_vit("vit_small_patch16_dinov3", prefix_tokens="keep", token_ratio=None, num_tokens=3)


def test_the_policies_differ_only_in_the_prefix() -> None:
    image = torch.randn(1, 3, 64, 64)
    compete, drop = (
        tiny_vit(prefix_tokens=policy, token_ratio=1.0)(image).indices[0, 0] for policy in ("compete", "drop")
    )

    for competing, dropped in zip(compete.tolist(), drop.tolist(), strict=True):
        assert [i for i in competing if i != 0] == dropped


def test_class_token_importance_is_the_row_of_the_class_token() -> None:
    frozen = tiny_vit(importance="class_token", token_ratio=1.0, blocks=(0,), depth=1)
    image = torch.randn(2, 3, 64, 64)
    qkv: list[torch.Tensor] = []
    frozen.vit.blocks[0].attn.qkv.register_forward_hook(lambda _m, _i, output: qkv.append(output))

    indices = frozen(image).indices[:, 0]

    q, k, _ = qkv[0].reshape(2, 17, 3, 3, 64).permute(2, 0, 3, 1, 4)
    row = (q[:, :, 0:1] @ k.transpose(-2, -1) / math.sqrt(64)).softmax(-1)[:, :, 0]
    torch.testing.assert_close(row.gather(-1, indices), row.sort(-1, descending=True).values)


def test_class_token_importance_changes_what_is_kept_but_not_what_the_tokens_are() -> None:
    image = torch.randn(1, 3, 64, 64)
    by_all, by_cls = (
        tiny_vit(importance=kind, token_ratio=1.0, blocks=(0, 1))(image) for kind in ("global", "class_token")
    )

    def in_token_order(found: Any) -> torch.Tensor:
        order = found.indices.argsort(-1)[:, :, None, :, :, None].expand_as(found.features)
        return found.features.gather(4, order)

    assert not torch.equal(by_all.indices, by_cls.indices)
    torch.testing.assert_close(in_token_order(by_all), in_token_order(by_cls))


def test_class_token_importance_needs_a_class_token() -> None:
    with pytest.raises(ValueError, match=r'needs a CLS token and VisionTransformer has none; use importance="global"'):
        tiny_vit("vit_base_patch16_siglip_224.v2_webli", depth=1, importance="class_token")


@pytest.mark.parametrize("kind", ["global", "class_token"])
@pytest.mark.parametrize("entries", [1, 500, 2000], ids="{} entries a chunk".format)
def test_importance_does_not_depend_on_the_chunks(kind: Any, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = tiny_vit(importance=kind, blocks=(0, 1)).double()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    whole = frozen(image)

    monkeypatch.setattr(importance_module, "_CHUNK_ENTRIES", {"cpu": entries})
    chunked = frozen(image)

    assert torch.equal(whole.indices, chunked.indices)
    torch.testing.assert_close(whole.features, chunked.features, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("masked", ["no mask", "additive", "boolean", "boolean row"])
@pytest.mark.parametrize("entries", [1, 2**20], ids=["by single queries", "at once"])
def test_weighing_and_attending_is_softmax_attention(
    masked: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance_module, "_CHUNK_ENTRIES", {"cpu": entries})
    q, k, v = torch.randn(3, 2, 3, 7, 8, dtype=torch.float64)
    mask = {
        "no mask": None,
        "additive": torch.randn(1, 3, 7, 7, dtype=torch.float64),
        "boolean": torch.rand(2, 1, 7, 7) > 0.3,
        "boolean row": torch.tensor([True] * 5 + [False] * 2).view(1, 1, 1, 7),
    }[masked]
    if masked == "boolean":
        mask[..., 0] = True  # no row without a key
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(8)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    probabilities = torch.exp(scores) / torch.exp(scores).sum(-1, keepdim=True)

    output, importance = importance_module.attend_and_weigh(q, k, v, mask, 1 / math.sqrt(8))

    torch.testing.assert_close(output, probabilities @ v)
    torch.testing.assert_close(importance, probabilities.mean(2))
    torch.testing.assert_close(importance_module.weigh(q, k, mask, 1 / math.sqrt(8), "global"), probabilities.mean(2))
    torch.testing.assert_close(
        importance_module.weigh(q, k, mask, 1 / math.sqrt(8), "class_token"), probabilities[:, :, 0]
    )


def test_half_precision_importance_is_summed_in_single_precision() -> None:
    q, k = torch.randn(2, 1, 1, 4096, 8).half()

    importance = importance_module.weigh(q, k, None, 8**-0.5, "global")

    exact = (q.double() @ k.double().transpose(-2, -1) * 8**-0.5).softmax(-1).mean(2)
    assert importance.dtype == torch.float32
    torch.testing.assert_close(importance.double(), exact, rtol=5e-3, atol=0)


def test_training_mode_never_reaches_the_backbone() -> None:
    frozen = tiny_vit(create_kwargs={"depth": 2, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5})
    image = torch.randn(1, 3, 64, 64)
    quiet = frozen(image).features

    nn.Sequential(frozen).train()

    assert not any(module.training for module in frozen.modules())
    torch.testing.assert_close(frozen(image).features, quiet, rtol=0, atol=0)


def test_no_gradient_reaches_backbone_or_image(tiny: Callable[..., FPTConfig]) -> None:
    model = FPTClassifier(tiny()).train()
    image = torch.randn(2, 3, 64, 64)

    model(image).sum().backward()

    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.backbone.parameters())
    assert not model.backbone(image.requires_grad_()).features.requires_grad


def test_an_optimizer_with_weight_decay_over_all_parameters_that_learn_leaves_the_backbone_alone(
    tiny: Callable[..., FPTConfig],
) -> None:
    model = FPTClassifier(tiny()).train()
    before = {name: tensor.clone() for name, tensor in model.backbone.vit.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)

    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
        optimizer.step()

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.backbone.vit.state_dict().items())


def test_the_tap_leaves_no_hooks_behind_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = tiny_vit()
    monkeypatch.setattr(frozen, "num_tokens", 10_000)

    with pytest.raises(RuntimeError):
        frozen(torch.randn(1, 3, 64, 64))

    assert not any(block._forward_pre_hooks for block in frozen.vit.blocks)


@pytest.mark.parametrize("norm_eps", [1e-12, 1e-3])
def test_an_epsilon_given_reaches_every_normalisation(norm_eps: float) -> None:
    norms = [m for m in tiny_vit(norm_eps=norm_eps).vit.modules() if isinstance(m, nn.LayerNorm)]

    assert norms
    assert {norm.eps for norm in norms} == {norm_eps}


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    first = tiny_vit()
    drawn = torch.rand(1)

    assert torch.equal(drawn, expected)
    assert first.fingerprint == tiny_vit().fingerprint


def test_the_fingerprint_is_of_the_weights_and_not_of_what_is_tapped() -> None:
    assert tiny_vit(blocks=(0,)).fingerprint == tiny_vit(blocks=(1,), image_size=96).fingerprint
    assert tiny_vit(depth=3).fingerprint != tiny_vit(depth=2).fingerprint
