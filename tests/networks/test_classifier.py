"""FPTClassifier from outside: cached and uncached images agree, wrong inputs are named, copies and scripts answer alike."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from monai_fpt.features import quantize
from monai_fpt.networks import FPTClassifier, FPTConfig, QuantizedFeatures

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

Tiny = Callable[..., FPTConfig]
Loud = Callable[[FPTConfig], FPTClassifier]


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
def test_an_uncached_image_answers_like_a_cached_one(method: str, tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny(method=method))
    image = torch.rand(2, 3, 64, 64)
    thumbnail = F.interpolate(image, (40, 40), mode="bilinear", antialias=True)
    side_image = F.interpolate(thumbnail, (32, 32), mode="bilinear", antialias=True)

    with torch.no_grad():
        uncached, cached = model(image), model(side_image, model.backbone(image).features)

    torch.testing.assert_close(uncached, cached, rtol=1e-5, atol=1e-5)
    assert (uncached[0] - uncached[1]).abs().max() > 1e-3


def test_cached_and_uncached_agree_when_side_and_backbone_read_one_size(tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny(side_size=64))
    image = torch.rand(1, 3, 64, 64)
    thumbnail = F.interpolate(image, (80, 80), mode="bilinear", antialias=True)
    side_image = F.interpolate(thumbnail, (64, 64), mode="bilinear", antialias=True)

    with torch.no_grad():
        uncached, cached = model(image), model(side_image, model.backbone(image).features)

    torch.testing.assert_close(uncached, cached, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stored", "tolerance"), [("float16", 5e-3), ("int8", 5e-2)])
def test_features_in_less_precision_change_the_answer_little(
    stored: str, tolerance: float, tiny: Tiny, loud: Loud
) -> None:
    model = loud(tiny())
    image, side_image = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 32, 32)

    with torch.no_grad():
        exact = model.backbone(image).features
        less: Any = exact.half() if stored == "float16" else quantize(exact)
        expected, answer = model(side_image, exact), model(side_image, less)

    assert (answer - expected).abs().max() < tolerance * expected.abs().max()
    assert not torch.equal(answer, expected)


def test_the_answer_of_one_image_does_not_depend_on_its_neighbours(tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny())
    images = torch.rand(3, 3, 64, 64)

    with torch.no_grad():
        together, alone = model(images), torch.cat([model(images[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


WRONG_FEATURES = {
    "another batch": (3, 1, 2, 3, 6, 64),
    "other blocks": (2, 2, 2, 3, 6, 64),
    "other heads": (2, 1, 2, 4, 6, 64),
    "another width": (2, 1, 2, 3, 6, 32),
    "keys without values": (2, 1, 1, 3, 6, 64),
    "an axis too few": (2, 1, 2, 3, 6),
}


@pytest.mark.parametrize("shape", WRONG_FEATURES.values(), ids=WRONG_FEATURES.keys())
@pytest.mark.parametrize("quantised", [False, True], ids=["plain", "quantised"])
def test_features_that_do_not_belong_are_refused(shape: tuple[int, ...], quantised: bool, tiny: Tiny) -> None:
    features: Any = torch.zeros(shape)
    if quantised:
        features = QuantizedFeatures(features.to(torch.int8), torch.zeros(()))

    with pytest.raises(
        ValueError, match=r"do not belong to 2 images and this network, which reads \(2, 1, 2, 3, tokens, 64\)"
    ):
        FPTClassifier(tiny())(torch.zeros(2, 3, 32, 32), features)


def test_features_with_another_number_of_tokens_are_read(tiny: Tiny) -> None:
    logits = FPTClassifier(tiny())(torch.rand(2, 3, 32, 32), torch.randn(2, 1, 2, 3, 9, 64))

    assert torch.isfinite(logits).all()


def test_a_side_reduction_that_heads_cannot_share_is_refused(tiny: Tiny) -> None:
    with pytest.raises(
        ValueError,
        match=r"side_reduction=5 makes a side network of width 38, which 3 heads cannot share; .* divisor of 64",
    ):
        FPTClassifier(tiny(side_reduction=5))


def test_a_mapping_of_fields_is_as_good_as_a_configuration(tiny: Tiny) -> None:
    assert FPTClassifier(tiny().to_dict()).config == tiny()


def test_weights_of_the_backbone_can_be_given_from_memory(tiny: Tiny) -> None:
    native = FPTClassifier(tiny(image_size=224)).backbone.vit.state_dict()
    given = {name: tensor + 0.01 for name, tensor in native.items()}

    model = FPTClassifier(tiny(image_size=224), backbone_state=given)

    assert all(torch.equal(tensor, given[name]) for name, tensor in model.backbone.vit.state_dict().items())


def test_counted_parameters_are_those_that_learn_and_those_that_do_not(tiny: Tiny) -> None:
    model = FPTClassifier(tiny())

    assert model.num_parameters() == (
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        sum(p.numel() for p in model.parameters() if not p.requires_grad),
    )


def test_every_learnable_weight_gets_a_gradient_but_the_key_biases(tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny(blocks=(0, 1))).train()

    F.cross_entropy(model(torch.rand(2, 3, 64, 64)), torch.tensor([0, 2])).backward()

    silent = {n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert not silent


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_answers_alike_for_one_and_three_images_and_after_a_file(
    how: str, method: str, tiny: Tiny, loud: Loud, tmp_path: Path
) -> None:
    model = loud(tiny(method=method))
    scripted = torch.jit.script(model) if how == "script" else torch.jit.trace(model, torch.rand(2, 3, 64, 64))
    torch.jit.save(scripted, tmp_path / "model.ts")
    loaded = torch.jit.load(tmp_path / "model.ts")

    for batch in (1, 3):
        image = torch.rand(batch, 3, 64, 64)
        with torch.no_grad():
            expected = model(image)
            torch.testing.assert_close(scripted(image), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loaded(image), expected, rtol=1e-4, atol=1e-5)


def test_a_network_in_training_is_scripted_without_dropout_and_stays_in_training(tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)
    model.train()

    scripted = torch.jit.script(model)

    assert model.training
    assert not model.backbone.training
    torch.testing.assert_close(scripted(image), expected, rtol=1e-4, atol=1e-5)


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))  # noqa: S301


@pytest.mark.parametrize("copier", [copy.deepcopy, pickled], ids=["deep copy", "pickle"])
def test_a_copy_answers_alike_and_lives_its_own_life(copier: Callable[[Any], Any], tiny: Tiny, loud: Loud) -> None:
    model = loud(tiny())
    image = torch.rand(1, 3, 64, 64)

    twin = copier(model)
    with torch.no_grad():
        expected = model(image)
        torch.testing.assert_close(twin(image), expected, rtol=0, atol=0)
        twin.side.head.bias.add_(1)
        torch.testing.assert_close(model(image), expected, rtol=0, atol=0)
    assert set(twin.state_dict()) == set(model.state_dict())
    assert not any("backbone.vit" in name for name in twin.state_dict())


def test_a_whole_saved_module_can_be_read_back(tiny: Tiny, loud: Loud) -> None:
    model, file = loud(tiny()), io.BytesIO()
    torch.save(model, file)
    file.seek(0)

    twin = torch.load(file, weights_only=False)

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(twin(image), model(image), rtol=0, atol=0)
