"""Several independent adapters in one network: a small deep ensemble (Lakshminarayanan et al., NeurIPS 2017) on one frozen backbone.

Decisions:

- K members have K x P prompts. They are one list of prompts to whoever looks at the fusion's attention, and all of them read the features
  in one pass, which is most of the cost of reading.
- Members share nothing that learns. In training the side networks answer one by one, (B, K members, classes), as MONAI's ``DynUNet`` does
  with its deep supervision, and the loss is the mean of theirs; so each learns as it would alone. Otherwise the answer is the mean of
  their logits, which needs to know nothing of the task and is their normalised geometric mean as probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_fpt.networks.fusion import Fusion
from monai_fpt.networks.side import SideViT

__all__ = ["FusionMembers", "SideMembers", "join_members"]


class FusionMembers(Fusion):
    """K fusion modules as one with K x P prompts.

    Args:
        members: fusion modules of one shape.
    """

    def __init__(self, members: Sequence[Fusion]) -> None:
        super().__init__(members[0].num_heads, members[0].recompute)
        self.members = nn.ModuleList(members)

    def queries(self) -> Tensor:
        """(L, K x P, C)."""
        return torch.cat([member.queries() for member in self.members], dim=1)  # type: ignore[operator]

    def fuse(self, attended: Tensor) -> Tensor:
        """(B, L, K x P, C) -> (B, L, K x P, S), each member its own part."""
        parts = attended.chunk(len(self.members), dim=2)
        return torch.cat([member.fuse(part) for member, part in zip(self.members, parts, strict=True)], dim=2)  # type: ignore[operator]


class SideMembers(nn.Module):
    """K side networks on one image, each with its own P of K x P prompts.

    Args:
        members: side networks of one shape.
    """

    def __init__(self, members: Sequence[SideViT]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Image (B, 3, h, w) and fused prompts (B, L, K x P, S) -> logits: (B, classes), the mean over members; in training (B, K,
        classes).
        """
        parts = prompts.chunk(len(self.members), dim=2)
        logits = torch.stack([member(image, part) for member, part in zip(self.members, parts, strict=True)], dim=1)
        return logits if self.training else logits.mean(dim=1)


def join_members(pairs: Sequence[tuple[Fusion, SideViT]]) -> tuple[Fusion, SideViT | SideMembers]:
    """One fusion module and one side network of several of each; a single pair stays as it is."""
    if len(pairs) == 1:
        return pairs[0]
    return FusionMembers([fusion for fusion, _ in pairs]), SideMembers([side for _, side in pairs])
