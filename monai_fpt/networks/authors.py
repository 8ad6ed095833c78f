"""The names of the authors' program and of Hugging Face transformers' ViT, translated to ours and timm's.

Users of the authors' program hold checkpoints with these names (``fusion_module.*``, ``side_encoder.*``), and the
original ImageNet-21k ViT is published under the transformers names. Only names and layouts are translated (three
projections become one ``qkv``); no value changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["convert_adapter_state", "convert_backbone_state", "is_transformers_vit"]

_BLOCK = re.compile(r"^encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_IN_BLOCK = {
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}


def is_transformers_vit(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of transformers' ``ViTModel`` or ``ViTForImageClassification``."""
    return any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in state)


def convert_backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers ViT names -> timm ViT names; heads and poolers are left out.

    Raises:
        ValueError: a weight that is no part of a plain ViT.
    """
    converted: dict[str, Tensor] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix("vit.")
        if name.startswith(("classifier.", "pooler.")):
            continue
        if name in _OUTSIDE:
            converted[_OUTSIDE[name]] = tensor
            continue
        match = _BLOCK.match(name)
        if match is None:
            raise ValueError(
                f'"{full_name}" is no weight of a plain ViT in the transformers naming; this file cannot be imported.'
            )
        block, part, kind = match.groups()
        if part == "attention.attention.query":
            stem = full_name.removesuffix(f"query.{kind}")
            qkv = [state[f"{stem}{projection}.{kind}"] for projection in ("query", "key", "value")]
            converted[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(qkv)
        elif part in _IN_BLOCK:
            converted[f"blocks.{block}.{_IN_BLOCK[part]}.{kind}"] = tensor
        elif part not in ("attention.attention.key", "attention.attention.value"):
            raise ValueError(
                f'"{full_name}" is no weight of a plain ViT in the transformers naming; this file cannot be imported.'
            )
    return converted


def convert_adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' learnable weights (``fusion_module.*`` and ``side_encoder.*``) -> names of :class:`FPTClassifier`.

    Raises:
        ValueError: a name of neither kind, or no such weights at all.
    """
    fusion = {
        "prompts": "prompts",
        "layer_norm.weight": "norm.weight",
        "layer_norm.bias": "norm.bias",
        "prompt_proj.weight": "query.weight",
        "prompt_proj.bias": "query.bias",
        "out_proj.weight": "project.weight",
        "out_proj.bias": "project.bias",
    }
    converted: dict[str, Tensor] = {}
    side: dict[str, Tensor] = {}
    for name, tensor in state.items():
        room, _, rest = name.partition(".")
        if room == "fusion_module" and rest in fusion:
            converted[f"fusion.{fusion[rest]}"] = tensor.squeeze(1) if rest == "prompts" else tensor
        elif room == "side_encoder" and rest.startswith("vit."):
            side[rest] = tensor
        elif name in ("side_encoder.classifier.weight", "side_encoder.classifier.bias"):
            converted[f"side.head.{rest.removeprefix('classifier.')}"] = tensor
        else:
            raise ValueError(
                f'"{name}" is no learnable weight of the authors\' FPT or FPT+; expected fusion_module.* and side_encoder.*.'
            )
    if not converted or not side:
        raise ValueError(
            "No weights of the authors' FPT or FPT+ in this file; expected fusion_module.* and side_encoder.*."
        )
    converted.update({f"side.{name}": tensor for name, tensor in convert_backbone_state(side).items()})
    return converted
