"""Whether a tracer, compiler or exporter records the computation: then loops over images must not be unrolled into it."""

from __future__ import annotations

import torch

__all__ = ["is_recorded"]


def is_recorded() -> bool:
    """True inside ``torch.jit.trace``, ``torch.compile`` and ``torch.export``."""
    return bool(torch.jit.is_tracing()) or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
