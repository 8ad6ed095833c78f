"""An averaged ``backbone_id`` is the backbone it stands for, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from federated_toys import SETTINGS

from monai_fpt.federated import FPTFederatedClassifier
from monai_fpt.networks import BackboneMismatchError, FPTConfig


def config(depth: int = 2) -> FPTConfig:
    name = str(SETTINGS["backbone"])
    return FPTConfig(
        backbone=name, backbone_weights=None, image_size=32, side_size=32, backbone_kwargs={"depth": depth}
    )


@pytest.fixture(scope="module")
def network() -> FPTFederatedClassifier:
    return FPTFederatedClassifier(config())


@pytest.fixture(scope="module")
def another_id() -> torch.Tensor:
    """Of a backbone with other weights: one block more."""
    return FPTFederatedClassifier(config(3)).backbone_id.clone()


def loaded(network: FPTFederatedClassifier, identity: torch.Tensor) -> torch.Tensor:
    """``backbone_id`` after loading weights with this one."""
    network.load_state_dict({**network.state_dict(), "backbone_id": identity})
    return network.backbone_id


def mean_by_numpy(identity: torch.Tensor, weights: list[float]) -> torch.Tensor:
    total = sum(identity.numpy() * weight for weight in weights)
    return torch.as_tensor(total * (1.0 / sum(weights)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_the_same_bytes_as_floats_are_the_same_backbone(network: FPTFederatedClassifier, dtype: torch.dtype) -> None:
    own = network.backbone_id.clone()

    assert torch.equal(loaded(network, own.to(dtype)), own)
    assert network.backbone_id.dtype == torch.uint8


def test_a_mean_that_a_cast_would_round_down_is_still_the_same_backbone(network: FPTFederatedClassifier) -> None:
    own = network.backbone_id.clone()
    mean = mean_by_numpy(own, [1.1, 2.3, 1.7])
    below = torch.nextafter(own.double(), torch.zeros(()).double())

    assert not torch.equal(below.to(torch.uint8), own)  # what a plain cast makes of it
    assert np.abs(mean.numpy() - own.numpy()).max() > 0
    assert torch.equal(loaded(network, mean), own)
    assert torch.equal(loaded(network, below), own)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.001])
def test_a_mean_with_another_backbone_is_refused_however_small_its_share(
    network: FPTFederatedClassifier, another_id: torch.Tensor, share: float
) -> None:
    mixed = network.backbone_id.double() * (1 - share) + another_id.double() * share

    with pytest.raises(BackboneMismatchError):
        loaded(network, mixed)


def test_another_backbone_is_refused_by_name_as_bytes_and_as_floats(
    network: FPTFederatedClassifier, another_id: torch.Tensor
) -> None:
    for identity in (another_id, another_id.float()):
        with pytest.raises(BackboneMismatchError, match="vit_tiny_patch16_224"):
            loaded(network, identity)


@pytest.mark.parametrize("noise", [0.2, float("nan")])
def test_an_identity_that_noise_was_added_to_is_refused(network: FPTFederatedClassifier, noise: float) -> None:
    with pytest.raises(BackboneMismatchError, match="filters"):
        loaded(network, network.backbone_id.double() + noise)
