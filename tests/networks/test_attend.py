"""The two attentions that are written out for training: the fused kernel's numbers and gradients, and little kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_fpt.features import quantize
from monai_fpt.networks import FPTClassifier, FPTConfig
from monai_fpt.networks import _attend as attend_module
from monai_fpt.networks import _small_attention as small_module
from monai_fpt.networks._attend import attend_to_stored
from monai_fpt.networks._small_attention import narrow_attention

B, L, H, P, M, D = 3, 2, 4, 5, 11, 8


def fused(queries: Tensor, features: Tensor) -> Tensor:
    """torch's own attention of (L, H, P, D) queries on (B, L, 2, H, M, D)."""
    q = queries.expand(features.shape[0], *queries.shape)
    return F.scaled_dot_product_attention(q, features[:, :, 0], features[:, :, 1])


@pytest.mark.parametrize("pairs_at_a_time", [1, 4, 100])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int8], ids=str)
def test_prompts_attend_as_the_fused_kernel_does_whatever_is_kept(
    dtype: torch.dtype, recompute: bool, pairs_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(attend_module._PIECE, "cpu", pairs_at_a_time * H * M * D)
    features = torch.randn(B, L, 2, H, M, D)
    codes, scales = quantize(features)
    stored, factors = (codes, scales) if dtype == torch.int8 else (features.to(dtype), None)
    numbers = codes.double() * scales.double().unsqueeze(-2) if dtype == torch.int8 else stored.double()
    queries, other = (torch.randn(L, H, P, D, dtype=torch.float64).requires_grad_() for _ in range(2))
    other.data.copy_(queries.data)
    gradient = torch.randn(B, L, H, P, D, dtype=torch.float64)

    output, expected = attend_to_stored(queries, stored, factors, recompute), fused(other, numbers)
    output.backward(gradient)
    expected.backward(gradient)

    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(queries.grad, other.grad, rtol=1e-9, atol=1e-9)


def test_a_gradient_of_the_features_is_given_where_it_is_asked_for() -> None:
    queries = torch.randn(L, H, P, D, dtype=torch.float64)
    features = torch.randn(B, L, 2, H, M, D, dtype=torch.float64).requires_grad_()
    other = features.detach().clone().requires_grad_()

    attend_to_stored(queries, features, None).sum().backward()
    fused(queries, other).sum().backward()

    torch.testing.assert_close(features.grad, other.grad)


def test_autocast_decides_the_precision_of_the_attention_to_prompts() -> None:
    queries, features = torch.randn(L, H, P, D).requires_grad_(), torch.randn(B, L, 2, H, M, D).half()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attend_to_stored(queries, features, None)
    output.float().sum().backward()

    assert output.dtype == torch.bfloat16
    assert queries.grad is not None and queries.grad.dtype == torch.float32
    torch.testing.assert_close(output.float(), fused(queries, features.float()), rtol=0.05, atol=0.05)


def test_several_networks_attend_at_once_under_vmap() -> None:
    queries, features = torch.randn(6, L, H, P, D), torch.randn(B, L, 2, H, M, D)

    def loss(q: Tensor) -> Tensor:
        return attend_to_stored(q, features, None).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss))(queries)

    for one, gradient in zip(queries, gradients, strict=True):
        own = one.clone().requires_grad_()
        fused(own, features).square().sum().backward()
        torch.testing.assert_close(gradient, own.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("images_at_a_time", [1, 2, 100])
def test_narrow_heads_attend_as_the_fused_kernel_does(images_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_module, "_PIECE", images_at_a_time * H * P * M)
    inputs = [torch.randn(B, H, n, D, dtype=torch.float64).requires_grad_() for n in (P, M, M)]
    others = [x.detach().clone().requires_grad_() for x in inputs]
    gradient = torch.randn(B, H, P, D, dtype=torch.float64)

    output, expected = narrow_attention(*inputs), F.scaled_dot_product_attention(*others)
    output.backward(gradient)
    expected.backward(gradient)

    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    for own, other in zip(inputs, others, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
def test_recomputing_changes_no_logit_and_no_gradient(
    method: str, tiny: Callable[..., FPTConfig], loud: Callable[..., FPTClassifier]
) -> None:
    kept, again = (loud(tiny(method=method, recompute=r, dropout=0.0)).train() for r in (False, True))
    again.load_state_dict(kept.state_dict())
    image, features = torch.randn(2, 3, 32, 32), torch.randn(2, *kept.backbone.feature_shape).half()

    logits, same = kept(image, features), again(image, features)
    logits.square().sum().backward()
    same.square().sum().backward()

    assert torch.equal(logits, same)
    for (name, own), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        if own.requires_grad:
            torch.testing.assert_close(own.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_recomputing_keeps_less_than_half_of_what_is_kept_otherwise(
    tiny: Callable[..., FPTConfig], loud: Callable[..., FPTClassifier]
) -> None:
    def kept(recompute: bool) -> int:
        model: Any = loud(tiny(recompute=recompute, depth=6)).train()
        image, features = torch.randn(2, 3, 32, 32), torch.randn(2, *model.backbone.feature_shape)
        own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), image, features)}
        found: dict[int, tuple[int, Tensor]] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(image, features)
        return sum(size for size, _ in found.values())

    assert kept(True) < kept(False) / 2
