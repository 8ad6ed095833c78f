"""A stack of networks is its networks, computed at once: against a loop of plain torch over separate ones."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_fpt.experiments import FPTRandomStream, FPTStack
from monai_fpt.networks import FPTClassifier, FPTConfig

STEPS, BATCH, COUNT = 4, 3, 3


def fpt_networks(dropout: float = 0.5) -> list[nn.Module]:
    config = FPTConfig(
        backbone="vit_tiny_patch16_224",
        backbone_weights=None,
        image_size=64,
        side_size=32,
        num_tokens=5,
        dropout=dropout,
        backbone_kwargs={"depth": 2},
    )
    networks = []
    for seed in range(COUNT):
        torch.manual_seed(seed)
        networks.append(FPTClassifier(config))
    return networks


class Plain(nn.Module):
    """Any network: convolution, attention, two dropout layers, one unused frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)
        self.first, self.second = nn.Dropout(0.2), nn.Dropout(0.6)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.head = nn.Linear(8, 2)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        tokens = self.first(self.conv(image).flatten(2).mT)
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        logits: Tensor = self.head(self.second(seen).mean(1) + features.flatten(1)[:, :8].to(seen.dtype))
        return logits


def plain_networks() -> list[nn.Module]:
    networks: list[nn.Module] = []
    for seed in range(COUNT):
        torch.manual_seed(seed)
        networks.append(Plain())
    return networks


def batches(networks: list[nn.Module], dtype: torch.dtype = torch.float32) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
    """Step by step a batch for each network."""
    first = networks[0]
    shape = first.backbone.feature_shape if isinstance(first, FPTClassifier) else (2, 4)
    numbers = torch.Generator().manual_seed(7)

    def one() -> tuple[Tensor, Tensor, Tensor]:
        image = torch.randn(BATCH, 3, 32, 32, generator=numbers)
        image = image.double() if dtype == torch.float64 else image
        features = torch.randn(BATCH, *shape, generator=numbers).to(dtype)
        return image, features, torch.randint(0, 2, (BATCH,), generator=numbers)

    return [[one() for _ in networks] for _ in range(STEPS)]


def optimizer_of(parameters: list[nn.Parameter], s: int) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=(0.01, 0.003, 0.02)[s], weight_decay=(0.1, 0.0, 0.3)[s])


def train_separately(networks: list[nn.Module], data: list[list[tuple[Tensor, Tensor, Tensor]]]) -> list[nn.Module]:
    """The reference: one network after the other, every one with torch's own dropout, clipping, AdamW and schedule."""
    for s, network in enumerate(networks):
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = optimizer_of(parameters, s)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        torch.manual_seed(100 + s)
        network.train()
        for step in data:
            image, features, label = step[s]
            optimizer.zero_grad()
            F.cross_entropy(
                network(image, features), label, weight=torch.tensor([1.0, 1.0 + s], dtype=torch.float64)
            ).backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
            schedule.step()
    return networks


def train_stacked(
    networks: list[nn.Module], data: list[list[tuple[Tensor, Tensor, Tensor]]], together: bool
) -> list[nn.Module]:
    stack = FPTStack(networks, together)
    streams = [FPTRandomStream(100 + s) for s in range(len(networks))]
    optimizers = [optimizer_of([row], s) for s, row in enumerate(stack.rows)]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(one, STEPS) for one in optimizers]
    everyone = list(range(len(networks)))
    for step in data:
        logits = stack.train_logits([(image, features) for image, features, _ in step], streams, everyone)
        weights = [torch.tensor([1.0, 1.0 + s], dtype=logits.dtype) for s in everyone]
        losses = [F.cross_entropy(logits[s], step[s][2], weight=weights[s]) for s in everyone]
        stack.backward(torch.stack(losses).sum())
        for s in everyone:
            nn.utils.clip_grad_norm_([stack.rows[s]], 0.5)
            optimizers[s].step()
            schedules[s].step()
    assert stack.together == together
    return [stack.write(s) for s in everyone]


@pytest.mark.parametrize("together", [True, False], ids=["in one pass", "one after the other"])
@pytest.mark.parametrize("make", [fpt_networks, plain_networks], ids=["FPTClassifier", "another network"])
def test_a_stack_learns_what_separate_networks_learn(make: object, together: bool) -> None:
    networks = [network.double() for network in make()]  # type: ignore[operator]  # AdamW makes much of rounding
    data = batches(networks, torch.float64)
    expected = train_separately(copy.deepcopy(networks), data)
    begun = copy.deepcopy(networks)
    found = train_stacked(networks, data, together)
    for before, one, other in zip(begun, found, expected, strict=True):
        pairs = zip(before.named_parameters(), one.parameters(), other.parameters(), strict=True)
        for (name, start), ours, theirs in pairs:
            assert torch.allclose(
                ours, theirs, rtol=0, atol=1e-6 if name.endswith("_bias") or "qkv.bias" in name else 1e-9
            ), name
            assert not theirs.requires_grad or not torch.equal(start, theirs), name


def test_stored_half_precision_features_are_taken_as_they_are() -> None:
    networks = fpt_networks()
    data = batches(networks, torch.float16)
    stack = FPTStack(networks, together=True)
    inputs = [(image, features) for image, features, _ in data[0]]
    found = stack.eval_logits(inputs, range(COUNT))
    assert stack.together
    for network, one, logits in zip(networks, inputs, found, strict=True):
        with torch.no_grad():
            assert torch.allclose(network.eval()(*one), logits, atol=1e-5)


def test_a_network_learns_the_same_alone_and_beside_others() -> None:
    data = batches(fpt_networks())
    beside = train_stacked(fpt_networks(), data, together=True)[0]
    alone = train_stacked(fpt_networks()[:1], [step[:1] for step in data], together=False)[0]
    for ours, theirs in zip(beside.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4)


def test_some_networks_can_sit_a_step_out() -> None:
    networks = fpt_networks()
    stack = FPTStack(networks)
    stack.gradients.fill_(7.0)
    image, features, label = batches(networks)[0][1]
    logits = stack.train_logits([(image, features)], [FPTRandomStream(0)], [1])
    stack.backward(F.cross_entropy(logits[0], label))
    assert torch.equal(stack.gradients[0], torch.full_like(stack.gradients[0], 7.0))
    assert not torch.equal(stack.gradients[1], torch.full_like(stack.gradients[1], 7.0))


class CannotBeBatched(Plain):
    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        if float(image.detach().sum()) > 1e9:  # a number that is asked of a batched tensor
            image = image * 2
        return super().forward(image, features)


def test_what_cannot_be_batched_is_said_once_and_computed_in_turn() -> None:
    networks: list[nn.Module] = [CannotBeBatched() for _ in range(2)]
    stack = FPTStack(networks)
    inputs = [(image, features) for image, features, _ in batches(networks)[0]]
    with pytest.warns(UserWarning, match="one after the other"):
        found = stack.eval_logits(inputs, [0, 1])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        assert torch.equal(stack.eval_logits(inputs, [0, 1]), found)
        assert torch.allclose(networks[1].eval()(*inputs[1]), found[1], atol=1e-6)


def test_networks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="networks of one shape"):
        FPTStack([nn.Linear(2, 3), nn.Linear(3, 2)])


def test_a_stream_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with FPTRandomStream(5):
        torch.rand(4)
    assert torch.equal(torch.get_rng_state(), state)
