"""FPTStack: several networks of one shape, computed as one.

Decisions:

* The learnable weights of S networks of P weights each are one matrix (S, P). What the networks compute with are views
  of it, and so are the gradients. A row is therefore one flat parameter, which an ordinary optimizer of torch takes:
  whatever works element by element (AdamW, Adam, SGD) does to the row what it does to the network's many tensors, and
  the norm of a row's gradient is the norm of all gradients of its network.
* ``torch.func.functional_call`` under ``vmap`` computes all networks in one pass, for any ``nn.Module``; the frozen part
  is not copied. Where a module cannot be batched, it says so once and computes one network after the other, with the
  same result.
* The numbers that dropout draws are drawn before the pass, network by network from a stream of its own, and given to
  the network as a buffer. So a network learns the same whether it is alone or beside others.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from monai_fpt.networks import clip_member_gradients

__all__ = ["FPTRandomStream", "FPTStack"]


_Dropped = tuple[str, torch.Size, tuple[int, ...], torch.dtype]  # layer; shape, strides and type of its input


class FPTRandomStream:
    """The random numbers of one network: torch's global generator, put in its state for a while.

    Example:
        >>> stream = FPTRandomStream(0)
        >>> with stream:
        ...     first = torch.rand(2)
        >>> bool((first == torch.rand(2, generator=torch.Generator().manual_seed(0))).all())
        True
    """

    def __init__(self, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()
        self._outside = self.state

    def __enter__(self) -> FPTRandomStream:
        self._outside = torch.get_rng_state()
        torch.set_rng_state(self.state)
        return self

    def __exit__(self, *_: object) -> None:
        self.state = torch.get_rng_state()
        torch.set_rng_state(self._outside)


class _GivenDropout(nn.Module):
    """Dropout whose mask, scaled, is a buffer."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class FPTStack:
    """S networks whose learnable weights have the same names and shapes.

    Args:
        networks: on one device. Their own weights are copied at the start and written by :meth:`write`.
        together: compute them in one pass; False computes one after the other.

    Raises:
        ValueError: the networks differ in more than the values of their weights.
    """

    def __init__(self, networks: Sequence[nn.Module], together: bool = True) -> None:
        shapes = [{n: p.shape for n, p in net.named_parameters() if p.requires_grad} for net in networks]
        if not shapes or any(one != shapes[0] for one in shapes):
            raise ValueError("stack: the networks have different learnable weights; stack networks of one shape.")
        self.networks = list(networks)
        self.together = together and len(networks) > 1
        self._shapes = shapes[0]
        rows = [
            torch.cat([dict(net.named_parameters())[n].detach().flatten() for n in self._shapes]) for net in networks
        ]
        self.weights = torch.stack(rows)
        self.gradients = torch.zeros_like(self.weights)
        self.rows = [nn.Parameter(row) for row in self.weights]
        """Each network's learnable weights as one flat parameter (P,), for an optimizer."""
        for row, gradient in zip(self.rows, self.gradients, strict=True):
            row.grad = gradient
        self._stacked = self._leaves(self.weights)
        self._single = [self._leaves(row) for row in self.weights]
        self._asked: list[tuple[dict[str, Tensor], Tensor]] = []  # leaves of the last pass and where their gradients go
        shared = {id(p): p for p in networks[0].parameters()}  # deepcopy takes these as they are
        self._base = copy.deepcopy(networks[0], shared)
        self._dropped = _replace_dropouts(self._base)
        self._rates = [{n: _dropout(net, n).p for n in self._dropped} for net in networks]
        self._plans: dict[tuple[Any, ...], list[_Dropped]] = {}

    def __len__(self) -> int:
        return len(self.networks)

    def train_logits(
        self, inputs: Sequence[tuple[Any, ...]], streams: Sequence[FPTRandomStream], which: Sequence[int]
    ) -> Tensor:
        """Logits (len(which), B, K) in training mode, of these networks on a batch each.

        Args:
            inputs: of each network the arguments of its ``forward``, all of the same shapes.
            streams: of each network, for its dropout.
            which: numbers of the networks.
        """
        self._base.train()
        masks = [self._masks(s, one, stream) for s, one, stream in zip(which, inputs, streams, strict=True)]
        return self._logits(inputs, masks, streams, which)

    def backward(self, loss: Tensor) -> None:
        """Put the gradients of a loss of the last :meth:`train_logits` into the rows."""
        leaves = [leaf for state, _ in self._asked for leaf in state.values()]
        places = [part for _, gradients in self._asked for part in self._split(gradients).values()]
        for place, gradient in zip(places, torch.autograd.grad(loss, leaves), strict=True):
            place.copy_(gradient)

    def clip(self, s: int, max_norm: float) -> None:
        """Clip the gradients of network ``s``, each of its members alone, as ``FPTGradientClipHandler`` does it."""
        clip_member_gradients(self._split(self.gradients[s]), max_norm)

    @torch.no_grad()
    def eval_logits(self, inputs: Sequence[tuple[Any, ...]], which: Sequence[int]) -> Tensor:
        """Logits (len(which), B, K) in evaluation mode, without gradients."""
        self._base.eval()
        ones = {f"{name}.mask": torch.ones((), device=self.weights.device) for name in self._dropped}
        return self._logits(inputs, [ones] * len(which), None, which)

    def write(self, s: int, row: Tensor | None = None) -> nn.Module:
        """Network ``s`` with its present weights, or those of ``row`` (P,)."""
        network = self.networks[s]
        own = dict(network.named_parameters())
        source = self.weights[s] if row is None else row
        with torch.no_grad():
            for name, values in self._split(source).items():
                own[name].copy_(values)
        return network

    def _logits(
        self,
        inputs: Sequence[tuple[Any, ...]],
        masks: Sequence[dict[str, Tensor]],
        streams: Sequence[FPTRandomStream] | None,
        which: Sequence[int],
    ) -> Tensor:
        if self.together and list(which) == list(range(len(self))):
            try:
                self._asked = [(self._stacked, self.gradients)]
                return self._all_at_once(inputs, masks)
            except (RuntimeError, NotImplementedError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.together = False
                warnings.warn(
                    f"stack: these networks cannot be computed in one pass ({str(error).splitlines()[0]}); they are computed one after "
                    "the other, with the same result.",
                    stacklevel=3,
                )
        found = []
        self._asked = [(self._single[s], self.gradients[s]) for s in which]
        for place, s in enumerate(which):
            state = self._single[s] | masks[place]
            if streams is None:
                found.append(functional_call(self._base, state, inputs[place]))
            else:
                with streams[place]:  # whatever else a network may draw
                    found.append(functional_call(self._base, state, inputs[place]))
        return torch.stack(found)

    def _all_at_once(self, inputs: Sequence[tuple[Any, ...]], masks: Sequence[dict[str, Tensor]]) -> Tensor:
        joined = {name: torch.stack([one[name] for one in masks]) for name in (masks[0] if masks else {})}
        stacked = pytree.tree_map(lambda *parts: torch.stack(parts), *inputs)

        def compute(state: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
            logits: Tensor = functional_call(self._base, state, arguments)
            return logits

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented")
            logits: Tensor = vmap(compute, randomness="error")(self._stacked | joined, stacked)
        return logits

    def _masks(self, s: int, inputs: tuple[Any, ...], stream: FPTRandomStream) -> dict[str, Tensor]:
        """What each dropout layer multiplies by, drawn as the layer itself would draw it."""
        masks = {}
        for name, shape, strides, dtype in self._plan(inputs):
            ones = torch.empty_strided(shape, strides, dtype=dtype).fill_(1.0)
            with stream:
                mask = F.dropout(ones, self._rates[s][name], training=True)
            masks[f"{name}.mask"] = mask.to(self.weights.device)
        return masks

    def _plan(self, inputs: tuple[Any, ...]) -> list[_Dropped]:
        """Dropout layers in the order they are reached, with the layout of what they see: torch draws in its order."""
        if not self._dropped:
            return []
        shapes = tuple(leaf.shape for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
        if shapes not in self._plans:
            seen: list[_Dropped] = []
            hooks = [
                self._base.get_submodule(name).register_forward_pre_hook(
                    lambda _, args, name=name: seen.append(_laid_out(name, args[0]))
                )
                for name in self._dropped
            ]
            with torch.no_grad():
                functional_call(self._base, self._single[0], inputs)
            for hook in hooks:
                hook.remove()
            if len({name for name, *_ in seen}) < len(seen):
                raise ValueError("stack: a dropout layer is used twice in one pass; give each use a layer of its own.")
            self._plans[shapes] = seen
        return self._plans[shapes]

    def _leaves(self, weights: Tensor) -> dict[str, Tensor]:
        """Views as leaves of the graph."""
        return {name: part.detach().requires_grad_() for name, part in self._split(weights).items()}

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        """(..., P) -> views of the shapes of the network's weights."""
        parts = torch.split(flat, [shape.numel() for shape in self._shapes.values()], dim=-1)
        named = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(*flat.shape[:-1], *shape) for (name, shape), part in named}


def _laid_out(name: str, x: Tensor) -> _Dropped:
    return name, x.shape, torch.empty_like(x).stride(), x.dtype


def _replace_dropouts(network: nn.Module) -> list[str]:
    """Put given masks in the place of dropout layers with learnable weights around them; their names."""
    names = [n for n, m in network.named_modules() if type(m) is nn.Dropout and not _is_frozen(network, n)]
    for name in names:
        network.set_submodule(name, _GivenDropout())
    return names


def _is_frozen(network: nn.Module, name: str) -> bool:
    """Whether the child of the network that holds this layer has no learnable weights (a frozen backbone)."""
    weights = list(network.get_submodule(name.partition(".")[0]).parameters())
    return bool(weights) and not any(p.requires_grad for p in weights)


def _dropout(network: nn.Module, name: str) -> nn.Dropout:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Dropout)
    return layer
