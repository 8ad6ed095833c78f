"""Which of several training processes this one is.

Files and tracked runs belong to rank 0. Before ``torch.distributed`` is set up (a bundle makes its handlers first) the
answer comes from the variable that ``torchrun`` sets.
"""

from __future__ import annotations

import os

import torch.distributed as dist

__all__ = ["process_rank", "wait_for_all", "world_size"]


def process_rank() -> int:
    """The rank of this process, 0 when it is alone."""
    if dist.is_available() and dist.is_initialized():
        return int(dist.get_rank())
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes take part now, 1 when ``torch.distributed`` is not set up."""
    return int(dist.get_world_size()) if dist.is_available() and dist.is_initialized() else 1


def wait_for_all() -> None:
    """Return when every process that takes part has come here; at once when this one is alone."""
    if world_size() > 1:
        dist.barrier()
