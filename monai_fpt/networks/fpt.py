"""FPTClassifier: image[, cached features] -> logits.

One contract. Given a high-resolution image alone, the network reads it with its frozen backbone, reduces it for the
side network, and answers: what an application, an exporter or a registry calls. Given a small image and the features a
cache holds of the same image, it skips the backbone: what training calls. ``state_dict()`` holds what was learned
(about 3.6 MB) and ``backbone_id``, the name and fingerprint of the backbone it was learned on; loading it onto another
backbone is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monai_fpt.networks.backbone import FrozenViT
from monai_fpt.networks.config import FPTConfig
from monai_fpt.networks.fusion import CachedFeatures, FPTFusion, FPTPlusFusion, Fusion, PooledFusion, QuantizedFeatures
from monai_fpt.networks.linear_side import LinearSide
from monai_fpt.networks.members import SideMembers, join_members
from monai_fpt.networks.resize import resize_image, thumbnail_size
from monai_fpt.networks.side import SideViT

__all__ = ["BackboneMismatchError", "FPTClassifier", "frozen_backbone"]

_FUSIONS: dict[str, type[FPTPlusFusion] | type[FPTFusion]] = {"fpt_plus": FPTPlusFusion, "fpt": FPTFusion}
_NAME_BYTES = 96


class BackboneMismatchError(RuntimeError):
    """An adapter was loaded onto another backbone than the one it was trained on."""


def frozen_backbone(config: FPTConfig, state: Mapping[str, Tensor] | None = None) -> FrozenViT:
    """The frozen backbone that a configuration names; ``state`` gives its weights from memory."""
    blocks = config.blocks
    if blocks is None and config.method == "fpt":
        blocks = _all_blocks(config)
    return FrozenViT(
        config.backbone,
        weights=config.backbone_weights,
        image_size=config.image_size,
        blocks=blocks,
        importance=config.importance,
        token_ratio=config.token_ratio,
        num_tokens=config.num_tokens,
        prefix_tokens=config.prefix_tokens,
        positions=config.positions,
        norm_eps=config.norm_eps,
        create_kwargs=config.backbone_kwargs,
        state=state,
    )


class FPTClassifier(nn.Module):
    """FPT+ or FPT: a frozen ViT, a fusion module and a side network.

    Args:
        config: an :class:`FPTConfig`, or a mapping of its fields.
        backbone_state: weights of the backbone from memory, instead of ``config.backbone_weights``.

    Raises:
        ValueError: a configuration that does not fit the backbone.

    Example:
        >>> config = FPTConfig(backbone="vit_tiny_patch16_224", backbone_weights=None, image_size=64, backbone_kwargs={"depth": 2})
        >>> model = FPTClassifier(config).eval()
        >>> model(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 2])
    """

    backbone_id: Tensor

    def __init__(
        self, config: FPTConfig | Mapping[str, Any], backbone_state: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.config = config if isinstance(config, FPTConfig) else FPTConfig.from_dict(config)
        self.backbone = frozen_backbone(self.config, backbone_state)
        width, heads = self.backbone.embed_dim, self.backbone.num_heads
        side_dim = width // self.config.side_reduction
        if side_dim < 1 or side_dim % heads:
            raise ValueError(
                f"side_reduction={self.config.side_reduction} makes a side network of width {side_dim}, which {heads} heads cannot share; "
                f"choose a divisor of {width // heads}."
            )
        self.side_size = self.config.side_pixels(self.backbone.patch_size)
        self.fusion, self.side = self.new_adapter()
        self.register_buffer("backbone_id", _backbone_id(self.backbone.name, self.backbone.fingerprint))
        self.register_load_state_dict_pre_hook(_refuse_another_backbone)  # type: ignore[no-untyped-call]

    def new_adapter(self) -> tuple[Fusion, SideViT | LinearSide | SideMembers]:
        """A fusion module and a side network for this backbone, with new random weights, of as many members as the
        configuration says; the network's own stay.
        """
        networks = self.config.members - self.config.linear_members
        return join_members([self._new_member(linear=k >= networks) for k in range(self.config.members)])

    def _new_member(self, linear: bool) -> tuple[Fusion, SideViT | LinearSide]:
        config, backbone = self.config, self.backbone
        width, heads, blocks = backbone.embed_dim, backbone.num_heads, len(backbone.blocks)
        side_dim = width // config.side_reduction
        if linear:
            pooled = PooledFusion(blocks, width, side_dim, heads, config.dropout, config.recompute)
            return pooled, LinearSide(side_dim, pooled.num_rows, blocks, config.num_classes)
        fusion = _FUSIONS[config.method](
            blocks, config.num_prompts, width, side_dim, heads, config.dropout, config.recompute
        )
        side = SideViT(
            self.side_size,
            backbone.patch_size,
            side_dim,
            blocks,
            heads,
            config.num_classes,
            backbone.norm_eps,
            config.recompute,
            config.side_init,
        )
        return fusion, side

    def forward(self, image: Tensor, features: CachedFeatures | None = None) -> Tensor:
        """Logits (B, K). In training a network of several members deals the batch among them, part after part, and each
        answers for its part: give batches as many times as large as there are members.

        Args:
            image: normalised. Without features: (B, 3, image_size, image_size). With features: the side image (B, 3,
                side_size, side_size); an image of ``image_size`` is reduced first, other multiples of the patch size
                are read with resized positions.
            features: (B, L, 2, H, M, D) keys and values of the same images from a cache, or :class:`QuantizedFeatures`.

        Raises:
            ValueError: shapes that do not fit.
        """
        if features is None:
            features, image = self.backbone(image).features, self.reduce_image(image)
        else:
            features = self._checked_features(image, features)
            if image.shape[-1] == self.backbone.image_size != self.side_size:
                image = self.reduce_image(image)
        prompts: Tensor = self.fusion(features)
        logits: Tensor = self.side(image, prompts)
        return logits

    def reduce_image(self, image: Tensor) -> Tensor:
        """(B, 3, image_size, image_size) -> (B, 3, side_size, side_size), by way of the thumbnail's size as a cache
        does it.
        """
        return resize_image(resize_image(image, thumbnail_size(self.side_size)), self.side_size)

    def num_parameters(self) -> tuple[int, int]:
        """How many parameters learn and how many are frozen (backbone without head, all its blocks up to the last
        tapped one).
        """
        frozen = sum(p.numel() for p in self.backbone.parameters())
        return sum(p.numel() for p in self.parameters()) - frozen, frozen

    def _checked_features(self, image: Tensor, features: CachedFeatures) -> CachedFeatures:
        shape = tuple((features.codes if isinstance(features, QuantizedFeatures) else features).shape)
        blocks, two, heads, _, dim = self.backbone.feature_shape
        if (
            len(shape) != 6
            or shape[0] != image.shape[0]
            or (shape[1], shape[2], shape[3], shape[5]) != (blocks, two, heads, dim)
        ):
            raise ValueError(
                f"features of shape {shape} do not belong to {image.shape[0]} images and this network, which reads "
                f"({image.shape[0]}, {blocks}, 2, {heads}, tokens, {dim}); make them with this network's FeatureSpec."
            )
        if isinstance(features, QuantizedFeatures):  # engines move tensors to the device, but not tuples of them
            return QuantizedFeatures(*(part.to(image.device, non_blocking=True) for part in features))
        return features

    def __prepare_scriptable__(self) -> nn.Module:
        """``torch.jit.script`` gets the traced network: the tap of the backbone is Python and cannot be compiled."""
        size = self.backbone.image_size
        reference = next(self.fusion.parameters())
        example = torch.zeros(2, 3, size, size, device=reference.device, dtype=reference.dtype)
        was_training = self.training
        with torch.no_grad():
            traced = torch.jit.trace(self.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        self.train(was_training)
        return _Scriptable(traced)


class _Scriptable(nn.Module):
    """A traced network under a scriptable roof."""

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)
        return logits


def _all_blocks(config: FPTConfig) -> tuple[int, ...]:
    with torch.device("meta"):
        depth = FrozenViT(
            config.backbone, None, config.image_size, None, "global", 1.0, create_kwargs=config.backbone_kwargs
        ).depth
    return tuple(range(depth))


def _backbone_id(name: str, fingerprint: str) -> Tensor:
    """uint8 (128,): 32 bytes of sha256, then the name, so that a plain tensor file says which backbone it belongs to."""
    text = name.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
    return torch.tensor(list((bytes.fromhex(fingerprint) if fingerprint else bytes(32)) + text), dtype=torch.uint8)


def _read_backbone_id(value: Tensor) -> tuple[str, str]:
    raw = bytes(value.cpu().tolist())
    return raw[32:].rstrip(b"\0").decode(errors="replace"), raw[:32].hex()


def _refuse_another_backbone(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    theirs = state.get(f"{prefix}backbone_id")
    assert isinstance(module, FPTClassifier)
    if theirs is None or torch.equal(theirs.cpu(), module.backbone_id.cpu()):
        return
    name, print_ = _read_backbone_id(theirs)
    own_name, own_print = _read_backbone_id(module.backbone_id)
    if print_ == own_print:
        return  # the same weights under another name
    raise BackboneMismatchError(
        f'This adapter was trained on backbone "{name}" (weights {print_[:12]}), but the network has "{own_name}" (weights {own_print[:12]}); '
        f"build the network with the adapter's backbone and weights."
    )
