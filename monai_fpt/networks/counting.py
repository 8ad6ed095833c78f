"""Bytes of a training step, counted and not read off a process, so that they are the same on every machine.

What autograd holds when the forward pass is done (different storages, parameters and inputs left out), parameters, gradients, optimizer
state and the batch. What only lives inside an operation, one block's activations where blocks are computed again, and the allocator come
on top, for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["extrapolated", "kept_bytes", "learnable_parameters", "state_bytes", "storage_bytes", "training_bytes"]


def storage_bytes(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of the different storages behind tensors, by address."""
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def learnable_parameters(module: nn.Module) -> int:
    """Numbers that learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def kept_bytes(forward: Callable[[], Tensor], module: nn.Module, inputs: Iterable[Tensor]) -> int:
    """What autograd holds when ``forward`` is done, without the module's parameters and buffers and the inputs."""
    own = storage_bytes([*module.parameters(), *module.buffers(), *inputs])
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is given twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor.detach())  # the tensor itself would make a ring that is never freed
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def state_bytes(module: nn.Module, optimizer: torch.optim.Optimizer, resident: bool = True) -> int:
    """Parameters, gradients and optimizer state after a step.

    Args:
        module: what is trained.
        optimizer: after a step.
        resident: False leaves frozen parameters out, which a training from a cache need not have in memory.
    """
    parameters = [p for p in module.parameters() if resident or p.requires_grad]
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    moments = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    return sum(storage_bytes([*parameters, *gradients, *moments]).values())


def training_bytes(
    module: nn.Module,
    loss: Callable[[], Tensor],
    inputs: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    resident: bool,
) -> int:
    """Kept + state + batch of one step. The step is taken: give a module whose weights do not matter any more, or not yet.

    Args:
        module: what is trained, in training mode.
        loss: the forward pass of one batch.
        inputs: the tensors of the batch, labels among them.
        optimizer: of the module's learnable weights.
        resident: whether frozen parameters must be in memory: True for what tunes a backbone, False for what reads a cache.
    """
    kept = kept_bytes(loss, module, inputs)
    loss().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    total = kept + state_bytes(module, optimizer, resident) + sum(storage_bytes(inputs).values())
    optimizer.zero_grad(set_to_none=True)
    return total


def extrapolated(one: int, two: int, batch: int) -> int:
    """Bytes at a batch size from those at 1 and 2 images: what is kept grows by the image, the state does not.

    Example:
        >>> extrapolated(110, 120, 16)
        260
    """
    return one + (two - one) * (batch - 1)
