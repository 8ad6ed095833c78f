"""Where the model looked: which located tokens of the full-resolution image spoke for a class.

The cache keeps, for every head of every tapped block, the most important tokens and their indices. Prompts attend to
them, the side network reads the prompts. So the map of a class is the relevance of the prompts' attention weights, added
up over heads, prompts and blocks at the place of their tokens; tokens that no head has kept were never seen by the
learned part and have none.

Decisions:

- Gradients end at the attention weights: nothing passes through the backbone, a map costs some passes of the side network.
- Before a map is given, the logits of the written-out path are held against the model's own; a map of something else than
  the model is worse than none.
- Evidence against a class is subtracted where it lies on the same token, and what is left below nothing is cut off.
- A prefix token (CLS, registers) has no place: its relevance is told as a share, and not drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from monai_fpt.networks import CachedFeatures, FPTClassifier, QuantizedFeatures
from monai_fpt.visualize.explicit import dequantized, fusion_attention, logits_from_attention
from monai_fpt.visualize.grid import scatter_to_grid
from monai_fpt.visualize.relevance import Relevance, integrated_gradient_attention

__all__ = ["FPTAttention", "attention_maps", "image_attention_maps"]

_TOLERANCE = 1e-3  # of the logits; TF32 on a GPU stays well below


@dataclasses.dataclass(frozen=True)
class FPTAttention:
    """The fusion attention of B images, its relevance for T classes, and where its tokens lie.

    Attributes:
        logits: (B, K), the model's own.
        targets: (B, T), the classes of the maps.
        attention: (B, L, H, P, M), rows sum to 1.
        relevance: (B, T, L, H, P, M), how much each weight speaks for the class.
        indices: (B, L, H, M), the tokens.
        num_prefix: tokens before the patches.
        grid: rows and columns of patches.
        blocks: (L) indices of the tapped blocks in the backbone.
    """

    logits: Tensor
    targets: Tensor
    attention: Tensor
    relevance: Tensor
    indices: Tensor
    num_prefix: int
    grid: tuple[int, int]
    blocks: tuple[int, ...]

    def heat(self) -> Tensor:
        """(B, T, rows, columns) in [0, 1]: a map per class, the strongest token at 1; all 0 where nothing speaks for the
        class.
        """
        return _scaled(self.evidence(), dims=2)

    def evidence(self) -> Tensor:
        """(B, T, rows, columns): relevance added up, signed and not scaled, so comparable between classes and images."""
        return self._placed(self.relevance.sum(dim=4), self.indices)[0]

    def heat_per_block(self) -> Tensor:
        """(B, T, L, rows, columns) in [0, 1], on one scale for all blocks of a map."""
        relevance = self.relevance.sum(dim=4)  # (B, T, L, H, M)
        return _scaled(
            scatter_to_grid(relevance.flatten(3), self.indices.flatten(2).unsqueeze(1), *self._geometry)[0], 3
        )

    def heat_per_prompt(self) -> Tensor:
        """(B, T, P, rows, columns) in [0, 1], on one scale for all prompts of a map; prompts of one number are summed over
        the blocks.
        """
        relevance = self.relevance.movedim(4, 2)  # (B, T, P, L, H, M)
        return _scaled(self._placed(relevance, self.indices.unsqueeze(1))[0], dims=3)

    def located(self) -> Tensor:
        """(B, rows, columns): how many of the L x H heads have kept the token; the network never saw those at 0."""
        return scatter_to_grid(torch.ones_like(self.indices).flatten(1), self.indices.flatten(1), *self._geometry)[0]

    def prefix_share(self) -> Tensor:
        """(B, T) in [0, 1]: which share of the absolute relevance lies on prefix tokens, and so on no map."""
        relevance = self.relevance.sum(dim=4).abs()
        patches, prefix = self._placed(relevance, self.indices)
        return prefix / (patches.sum(dim=(-2, -1)) + prefix).clamp(min=torch.finfo(prefix.dtype).tiny)

    @property
    def _geometry(self) -> tuple[int, tuple[int, int]]:
        return self.num_prefix, self.grid

    def _placed(self, values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, ..., L, H, M) -> (B, T, ..., rows, columns) and (B, T, ...)."""
        return scatter_to_grid(values.flatten(-3), indices.flatten(-3).unsqueeze(1), *self._geometry)


def attention_maps(
    model: FPTClassifier,
    features: CachedFeatures,
    indices: Tensor,
    side_image: Tensor,
    target: int | Tensor | Literal["predicted"] | None = None,
    relevance: Relevance = integrated_gradient_attention,
) -> FPTAttention:
    """Maps of one image or of a batch, from what a cache keeps of it. The backbone is not asked.

    Args:
        model: a trained classifier; it is read in eval mode, whatever mode it is in.
        features: (B, L, 2, H, M, D) or :class:`~monai_fpt.networks.QuantizedFeatures`; without B for one image.
        indices: (B, L, H, M), as stored with the features; without B for one image.
        side_image: normalised, (B, 3, side_size, side_size) or of ``image_size``; without B for one image.
        target: a class; (B,) one class an image; ``"predicted"``: the class of the highest logit; None: every class, T = K.
        relevance: one of :mod:`monai_fpt.visualize.relevance`.

    Returns:
        The maps, always with B and T, detached.

    Raises:
        ValueError: shapes or indices that do not belong to each other or to the model, or a class the model has not.
        RuntimeError: the written-out path does not give the model's logits.

    Example:
        >>> config = {"backbone": "vit_tiny_patch16_224", "backbone_weights": None, "image_size": 64, "backbone_kwargs": {"depth": 2}}
        >>> model = FPTClassifier(config)
        >>> image = torch.zeros(1, 3, 64, 64)
        >>> seen = model.backbone(image)
        >>> attention_maps(model, seen.features, seen.indices, image, target="predicted").heat().shape
        torch.Size([1, 1, 4, 4])
    """
    features, indices, side_image = _batched(features, indices, side_image)
    with _evaluating(model), torch.inference_mode(False), torch.autocast(side_image.device.type, enabled=False):
        features, indices, side_image = _outside_inference(features), indices.clone(), side_image.clone()
        if side_image.shape[-1] == model.backbone.image_size != model.side_size:
            side_image = model.reduce_image(side_image)
        with torch.no_grad():
            logits = model(side_image, features)  # checks shapes
            _check_indices(model, features, indices)
            plain = dequantized(features, next(model.fusion.parameters()).dtype)
            attention = fusion_attention(model, plain)
            _check_agreement(logits, logits_from_attention(model, attention, plain, side_image))
            targets = _targets(target, logits)

        def scores(weights: Tensor) -> Tensor:
            return logits_from_attention(model, weights, plain, side_image).gather(1, targets)

        with torch.enable_grad():
            found = relevance(scores, attention).detach()
    backbone = model.backbone
    side = backbone.image_size // backbone.patch_size
    return FPTAttention(
        logits, targets, attention, found, indices, backbone.num_prefix_tokens, (side, side), tuple(backbone.blocks)
    )


def image_attention_maps(
    model: FPTClassifier,
    image: Tensor,
    target: int | Tensor | Literal["predicted"] | None = None,
    relevance: Relevance = integrated_gradient_attention,
) -> FPTAttention:
    """Maps of images that are in no cache: the backbone reads them once, without gradients.

    Args:
        model: a trained classifier.
        image: normalised, (B, 3, image_size, image_size), or (3, image_size, image_size).
        target: as of :func:`attention_maps`.
        relevance: likewise.
    """
    image = image.unsqueeze(0) if image.ndim == 3 else image
    seen = model.backbone(image)
    return attention_maps(model, seen.features, seen.indices, image, target, relevance)


def _scaled(maps: Tensor, dims: int) -> Tensor:
    """Cut off below 0 and divided by the maximum over the last ``dims`` axes."""
    positive = maps.clamp(min=0)
    highest = positive.amax(dim=tuple(range(-dims, 0)), keepdim=True)
    return torch.where(highest > 0, positive / highest, torch.zeros_like(positive))


def _batched(features: CachedFeatures, indices: Tensor, side_image: Tensor) -> tuple[CachedFeatures, Tensor, Tensor]:
    if side_image.ndim != 3:
        return features, indices, side_image
    if isinstance(features, QuantizedFeatures):
        features = QuantizedFeatures(*(part.unsqueeze(0) for part in features))
    else:
        features = features.unsqueeze(0)
    return features, indices.unsqueeze(0), side_image.unsqueeze(0)


def _outside_inference(features: CachedFeatures) -> CachedFeatures:
    """A tensor that was made in inference mode can take part in no gradient; its clone can."""
    if isinstance(features, QuantizedFeatures):
        return QuantizedFeatures(*(part.clone() for part in features))
    return features.clone()


@contextmanager
def _evaluating(model: FPTClassifier) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check_indices(model: FPTClassifier, features: CachedFeatures, indices: Tensor) -> None:
    stored = features.codes if isinstance(features, QuantizedFeatures) else features
    batch, blocks, _, heads, tokens, _ = stored.shape
    if tuple(indices.shape) != (batch, blocks, heads, tokens):
        raise ValueError(
            f"indices of shape {tuple(indices.shape)} do not belong to these features, whose tokens are "
            f"({batch}, {blocks}, {heads}, {tokens}); give those stored with the features."
        )
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= model.backbone.num_all_tokens:
        raise ValueError(
            f"indices run from {low} to {high}, but the backbone has tokens 0 to {model.backbone.num_all_tokens - 1} at "
            f"image_size={model.backbone.image_size}; give those stored with the features."
        )


def _check_agreement(logits: Tensor, written_out: Tensor) -> None:
    scale = max(1.0, float(logits.abs().max()))
    difference = float((logits - written_out).abs().max())
    if not difference <= _TOLERANCE * scale:
        raise RuntimeError(
            f"The written-out attention gives logits that differ by {difference:.3g} from the model's own, so a map of it would "
            f"not show the model; use a plain FPTClassifier in float32."
        )


def _targets(target: int | Tensor | Literal["predicted"] | None, logits: Tensor) -> Tensor:
    """(B, T) int64."""
    batch, classes = logits.shape
    if target is None:
        return torch.arange(classes, device=logits.device).expand(batch, classes)
    if isinstance(target, str):
        if target != "predicted":
            raise ValueError(f'target={target!r} is not "predicted"; give a class, a class an image, or None for all.')
        return logits.argmax(dim=1, keepdim=True)
    chosen = torch.as_tensor(target, dtype=torch.int64, device=logits.device)
    if chosen.ndim > 1 or (chosen.ndim == 1 and len(chosen) != batch):
        raise ValueError(f"target of shape {tuple(chosen.shape)} does not name one class for each of {batch} images.")
    if int(chosen.min()) < 0 or int(chosen.max()) >= classes:
        raise ValueError(f"target={target} is not among the model's classes 0 to {classes - 1}.")
    return chosen.reshape(-1, 1).expand(batch, 1)
