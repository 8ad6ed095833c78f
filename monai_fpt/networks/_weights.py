"""Weights of a frozen backbone: where they come from, and what they are called by (their fingerprint).

Loading is strict. timm itself loads with ``strict=False`` when the head is removed, so that a file of another model
passes in silence; here every weight of the trunk must be in the file, and only heads and pooling layers may be left
over. Nothing is unpickled (``weights_only=True``, or safetensors).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict as read_state_dict
from torch import Tensor, nn

from monai_fpt.networks.authors import convert_backbone_state, is_transformers_vit

__all__ = ["create_trunk", "fingerprint"]

_LEFT_OVER = ("head", "fc_norm", "norm.", "attn_pool", "pre_logits", "mask_token", "decoder", "classifier", "lm_head")


def fingerprint(module: nn.Module) -> str:
    """sha256 (hex) over names, shapes, dtypes and bytes of all parameters and buffers; empty for a model without data
    (meta device).
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_meta:
            return ""
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def create_trunk(
    name: str, weights: str | None, kwargs: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """A timm model without head at its native input size.

    Args:
        name: timm model name, with or without tag, or an ``hf-hub:`` id.
        weights: ``"timm"`` (the pretrained tag, fetched once by timm), a path of a ``.safetensors`` or torch file with
            timm's or Hugging Face transformers' ViT names, or None: random weights from a fixed seed (tests and
            benchmarks).
        kwargs: further arguments of ``timm.create_model``.
        state: weights in memory (timm or transformers names) instead of ``weights``.

    Raises:
        ValueError: unknown model name, or weights that do not fit.
        FileNotFoundError: no file at that path.
        RuntimeError: the pretrained weights cannot be fetched.
    """
    if weights is not None and weights != "timm":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f'Backbone weights "{weights}": there is no such file; give a .safetensors or .pth file, or "timm".'
            )
        state = _read_file(path)
    if state is not None or weights is None:
        trunk = _create(name, kwargs)
        if state is not None:
            _load_strictly(trunk, state, name)
        return trunk
    try:
        return _create(name, kwargs, pretrained=True)
    except ValueError:
        raise
    except Exception as error:  # timm and huggingface_hub raise a dozen kinds
        raise RuntimeError(
            f'The pretrained weights of "{name}" could not be fetched ({type(error).__name__}); connect to the internet once, or '
            f"download the weights elsewhere and give their path as backbone_weights."
        ) from error


def _create(name: str, kwargs: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a random backbone is the same backbone every time
        try:
            model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)
        except TypeError as error:
            raise ValueError(
                f'backbone_kwargs={dict(kwargs)} do not fit timm\'s "{name}" ({error}); correct or leave them out.'
            ) from error
        except RuntimeError as error:
            if "Unknown model" not in str(error) and "Invalid pretrained tag" not in str(error):
                raise
            raise ValueError(
                f'Backbone "{name}" is not known to timm {timm.__version__}; timm.list_models("*vit*") lists the names, '
                f'an "hf-hub:" id names a model on the Hugging Face hub.'
            ) from error
    return model


def _read_file(path: Path) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = read_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f'Backbone weights "{path.name}" cannot be read as safetensors or as a torch file of plain tensors '
            f"({type(error).__name__}); save the model's state_dict() with safetensors.torch.save_file."
        ) from error
    return state


def _load_strictly(trunk: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    converted: Mapping[str, Tensor] = dict(state)
    if is_transformers_vit(converted):
        converted = convert_backbone_state(converted)
    filter_fn = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if filter_fn is not None:
        converted = filter_fn(dict(converted), trunk)
    own = trunk.state_dict()
    misfit = sorted(k for k in own if k in converted and own[k].shape != converted[k].shape)
    missing = sorted(k for k in own if k not in converted)
    extra = sorted(k for k in converted if k not in own and not k.startswith(_LEFT_OVER))
    if misfit or missing or extra:
        first = (misfit or missing or extra)[0]
        kind = "of another shape" if misfit else "missing in the file" if missing else "unknown to the model"
        raise ValueError(
            f'The weights given do not fit backbone "{name}": {len(misfit or missing or extra)} tensors are {kind}, the first is '
            f'"{first}"; give the weights of this model, or the timm name these weights belong to.'
        )
    trunk.load_state_dict({k: converted[k] for k in own})
