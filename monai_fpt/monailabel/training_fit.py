"""Seconds of training on cached features: the loop of a retraining, without files, labels' history or server.

Decisions:

- No image is opened and no backbone runs. Features are read from the cache's memory maps, batch by batch, so a thousand
  labels need no more memory than ten; thumbnails (77 kB an image) are held.
- A fixed number of epochs with a cosine schedule, and the last one counts. Validation images do not choose the epoch,
  since they decide about publishing afterwards: a model that was picked on the images it is judged by would win too often.
- Augmentation, loss and regularisation are those of the bundle's training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from monai_fpt.features import FeatureSpec, FeatureStore, MissingFeaturesError
from monai_fpt.monailabel.training_augment import augment_batch
from monai_fpt.networks import (
    CachedFeatures,
    FPTClassifier,
    FPTLoss,
    QuantizedFeatures,
    clip_member_gradients,
    resize_image,
)
from monai_fpt.transforms import RandFPTSideAugment

__all__ = ["FPTFitOptions", "LabelledFeatures", "TrainingCancelled", "fit_adapter", "predict_labelled", "reset_adapter"]

_EVAL_BATCH = 32


class TrainingCancelled(RuntimeError):
    """Somebody asked a training to stop; nothing was published."""


@dataclasses.dataclass(frozen=True)
class FPTFitOptions:
    """How a retraining learns. The trainer's options in MONAI Label have the same names.

    Attributes:
        max_epochs: passes over the training images.
        min_steps: with few images more passes are made, until there were so many steps: twenty labels in ten passes
            would be twenty steps, from which nothing is learned.
        batch_size: images a step.
        learning_rate: of AdamW at its highest.
        weight_decay: of AdamW.
        clip_norm: longest gradient.
        class_weights: as of :class:`~monai_fpt.networks.FPTLoss`.
        flip_prob, vertical_flip_prob, rotate_prob: as of :class:`~monai_fpt.transforms.RandFPTSideAugment`; 0 where left
            and right, or up and down, have a meaning.
        seed: of order, augmentation and dropout.

    Raises:
        ValueError: a value out of range, naming the field.
    """

    max_epochs: int = 10
    min_steps: int = 100
    batch_size: int = 16
    learning_rate: float = 0.005
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    class_weights: Literal["equal", "balanced", "decaying"] = "equal"
    flip_prob: float = 0.5
    vertical_flip_prob: float = 0.0
    rotate_prob: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)!r} must be above 0.")
        for name in ("weight_decay", "seed", "min_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must not be negative.")
        for name in ("flip_prob", "vertical_flip_prob", "rotate_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} is no probability; choose 0 to 1.")
        if self.class_weights not in ("equal", "balanced", "decaying"):
            raise ValueError(f'class_weights={self.class_weights!r} is not one of "equal", "balanced", "decaying".')

    def epochs(self, images: int) -> int:
        """Passes that are made over so many images.

        Example:
            >>> FPTFitOptions().epochs(images=160), FPTFitOptions().epochs(images=20)
            (10, 50)
        """
        return max(self.max_epochs, math.ceil(self.min_steps / math.ceil(max(images, 1) / self.batch_size)))


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """What the cache holds of labelled images.

    Attributes:
        keys: of N images.
        groups: their patients; the key where none is known.
        labels: (N,) int64, or (N, K) of 0 and 1 for several labels.
        thumbnails: (N, 3, T, T) uint8.
        features: N times (L, 2, H, M, D) or :class:`~monai_fpt.networks.QuantizedFeatures`, views of the cache.
        spec: what they were made with.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Tensor
    thumbnails: Tensor
    features: tuple[CachedFeatures, ...]
    spec: FeatureSpec

    @classmethod
    def read(cls, items: Sequence[Mapping[str, Any]], store: FeatureStore) -> LabelledFeatures:
        """Look up the images of a data list.

        Raises:
            MissingFeaturesError: an image is not in the cache in its present content.
        """
        found = [store.find(item) for item in items]
        missing = [str(item["key"]) for item, entry in zip(items, found, strict=True) if entry is None]
        if missing:
            raise MissingFeaturesError(
                f'{len(missing)} of {len(items)} labelled images have no features in the cache, the first is "{missing[0]}"; '
                "open it once, or extract the features of the studies folder."
            )
        stored = [store.read(entry) for entry in found if entry is not None]
        several = bool(items) and isinstance(items[0]["label"], list)
        size = store.spec.thumbnail_size
        return cls(
            keys=tuple(str(item["key"]) for item in items),
            groups=tuple(str(item.get("group", item["key"])) for item in items),
            labels=torch.tensor([item["label"] for item in items], dtype=torch.float32 if several else torch.int64),
            thumbnails=torch.stack([s.thumbnail for s in stored])
            if stored
            else torch.empty(0, 3, size, size, dtype=torch.uint8),
            features=tuple(s.features for s in stored),
            spec=store.spec,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, rows: Sequence[int]) -> CachedFeatures:
        """Features of these rows as they are stored: (B, L, 2, H, M, D), or codes and scales."""
        parts = [self.features[row] for row in rows]
        if any(isinstance(part, QuantizedFeatures) for part in parts):
            return QuantizedFeatures(*(torch.stack([part[i] for part in parts]) for i in (0, 1)))
        return torch.stack([part for part in parts if isinstance(part, Tensor)])

    def side_images(self, rows: Sequence[int], size: int) -> Tensor:
        """Side images without augmentation, normalised: (B, 3, size, size)."""
        return self.normalise(resize_image(self.thumbnails[list(rows)].float() / 255, size))

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) in [0, 1] -> what the network reads."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.spec.mean, self.spec.std))
        return (images - mean) / std


def reset_adapter(network: FPTClassifier, seed: int) -> None:
    """Give fusion and side network the random weights a new network has; the backbone stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion, side = network.new_adapter()
    network.fusion.load_state_dict(fusion.state_dict())
    network.side.load_state_dict(side.state_dict())


def fit_adapter(
    network: FPTClassifier,
    data: LabelledFeatures,
    options: FPTFitOptions,
    on_epoch: Callable[[int, float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Train an adapter in place, on the CPU; leaves it in eval mode.

    Args:
        network: starts from the weights it has.
        data: training images.
        options: how.
        on_epoch: called after each epoch with its number from 1 and the mean loss.
        cancelled: asked before each step.

    Raises:
        TrainingCancelled: ``cancelled`` said so.
        ValueError: no images, or features of another backbone.
    """
    if not len(data):
        raise ValueError("There are no images to train on; label some.")
    if data.spec.backbone_fingerprint != network.backbone.fingerprint:
        raise ValueError("The cached features are of another backbone than the model's; use the model's own cache.")

    def check() -> None:
        if cancelled is not None and cancelled():
            raise TrainingCancelled("The training was cancelled; the present model stays.")

    several = data.labels.ndim == 2
    counts = data.labels.sum(dim=0) if several else torch.bincount(data.labels, minlength=network.config.num_classes)
    loss_function = FPTLoss(
        "multilabel" if several else "multiclass", counts.tolist(), len(data), options.class_weights
    )
    augment = RandFPTSideAugment(
        network.side_size,
        options.flip_prob,
        vertical_flip_prob=options.vertical_flip_prob,
        rotate_prob=options.rotate_prob,
    )
    augment.set_random_state(options.seed)
    order = torch.Generator().manual_seed(options.seed)
    with _adapter_learns(network) as parameters, torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        optimizer = torch.optim.AdamW(parameters, options.learning_rate, weight_decay=options.weight_decay, fused=True)
        epochs = options.epochs(len(data))
        steps = epochs * math.ceil(len(data) / options.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        for epoch in range(1, epochs + 1):
            loss_function.set_progress((epoch - 1) / epochs)
            total = 0.0
            orders = [torch.randperm(len(data), generator=order) for _ in range(network.config.members)]
            for rows in torch.split(torch.stack(orders), options.batch_size, dim=1):
                check()
                batch = rows.flatten().tolist()  # each member's own images, one after the other
                thumbnails = data.thumbnails[batch].float() / 255
                draws = [augment.randomize(thumbnails.shape[1:]) for _ in batch]
                images = data.normalise(augment_batch(thumbnails, draws, network.side_size))
                logits = network.side(images, network.fusion(data.batch(batch)))
                loss: Tensor = loss_function(logits, data.labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                named = network.named_parameters()
                clip_member_gradients({n: p.grad for n, p in named if p.grad is not None}, options.clip_norm)
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) * rows.shape[1]
            if on_epoch is not None:
                on_epoch(epoch, total / len(data))


@torch.no_grad()
def predict_labelled(network: FPTClassifier, data: LabelledFeatures) -> Tensor:
    """Logits (N, K) of cached images, float32; the network is asked in eval mode."""
    was_training = network.training
    network.eval()
    parts = [
        network.side(data.side_images(rows, network.side_size), network.fusion(data.batch(rows)))
        for rows in _in_order(len(data))
    ]
    network.train(was_training)
    return torch.cat(parts) if parts else torch.empty(0, network.config.num_classes)


@contextlib.contextmanager
def _adapter_learns(network: FPTClassifier) -> Iterator[list[nn.Parameter]]:
    """Parameters to train, in training mode; afterwards the network is in eval mode and holds no gradients."""
    learning = [p for p in network.parameters() if p.requires_grad]
    network.train()
    try:
        yield learning
    finally:
        for parameter in learning:
            parameter.grad = None
        network.eval()


def _rate(step: int, steps: int) -> float:
    """Up over the first tenth, at most 20 steps, then down as a cosine."""
    warm = max(1, min(20, steps // 10))
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _in_order(count: int) -> list[list[int]]:
    return [list(range(start, min(start + _EVAL_BATCH, count))) for start in range(0, count, _EVAL_BATCH)]
